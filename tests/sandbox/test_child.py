"""The child of a sandbox: errors that the sandbox causes are not blamed on the file."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.sandbox_children import fork, thread, wrapped
from tfs_rt.errors import (
    InputError,
    LimitReached,  # noqa: F401 - likewise
)
from tfs_rt.sandbox.parent import Sandbox
from tfs_rt.sandbox.parts import SECCOMP


@pytest.mark.parametrize("ask", [fork, thread, wrapped])
def test_a_decoder_that_the_sandbox_stops_is_not_the_files_fault(ask: Callable[[], None]) -> None:
    with Sandbox(ask) as call:
        if SECCOMP not in call.parts().held:
            pytest.skip("this kernel has no seccomp")
        with pytest.raises(InputError, match="asks for what the sandbox does not permit") as caught:
            call("a.png")
    assert "write it again" not in str(caught.value)
