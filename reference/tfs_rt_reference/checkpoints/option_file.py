"""The published programs' option file: JSON with `//` comments."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfs_rt.errors import ModelError, first_line
from tfs_rt.facts import from_dict
from tfs_rt.spec import Architecture, Schedule
from tfs_rt.system.files import read_regular

PUBLISHED_NORM_GROUPS = 32  # the published program's default
LIMIT = 2**24  # bytes of an option file
COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*')


@dataclass(frozen=True, slots=True)
class PublishedConfig:
    """The model that an option file declares."""

    fields: dict[str, Any]  # keys: fields of Architecture; None if not stated
    norm_groups: int | None
    attn_res: tuple[int, ...] | None
    schedules: tuple[Schedule, ...]  # that of inference (`val`), then that of training
    image_size: int

    @classmethod
    def read(cls, path: Path) -> PublishedConfig:
        """Read an option file; ModelError if a part that matters is missing or malformed."""
        try:
            return cls._parse(json.loads(COMMENT.sub(r"\1", read_regular(path, LIMIT).decode()))["model"])
        except OSError as error:
            raise ModelError(path, f"cannot be read ({error.strerror})", "check the path given to --config") from error
        except KeyError as error:
            raise ModelError(path, f"lacks the key {error}", "give the option file of the published program") from error
        except Exception as error:  # any shape of JSON is possible
            reason = f"is not an option file ({first_line(error)})"
            raise ModelError(path, reason, "give the published program's JSON") from error

    @classmethod
    def _parse(cls, model: dict[str, Any]) -> PublishedConfig:
        unet = model["unet"]
        whole = ("in_channel", "out_channel", "inner_channel", "res_blocks")
        fields: dict[str, Any] = {name: None if unet.get(name) is None else _integer(unet[name]) for name in whole}
        multiplier = unet.get("channel_multiplier")
        resolutions = unet.get("attn_res")
        fields["channel_multiplier"] = None if multiplier is None else tuple(map(_integer, multiplier))
        return cls(
            fields=fields,
            norm_groups=None if unet.get("norm_groups") is None else _integer(unet["norm_groups"]),
            attn_res=None if resolutions is None else tuple(map(_integer, resolutions)),
            schedules=tuple(_schedule(model["beta_schedule"][phase]) for phase in ("val", "train")),
            image_size=_integer(model["diffusion"]["image_size"]),
        )

    def differences(self, found: Architecture) -> list[str]:
        """One line for each field in which this configuration and a checkpoint's tensors disagree."""
        levels = range(len(found.channel_multiplier))
        attention = None if self.attn_res is None else tuple(i for i in levels if self.image_size >> i in self.attn_res)
        lines = [
            f"{name}: {getattr(found, name)} in the checkpoint, {value} in the configuration"
            for name, value in {**self.fields, "attention_levels": attention}.items()
            if value is not None and value != getattr(found, name)
        ]
        if self.norm_groups and found.inner_channel % self.norm_groups:
            lines.append(f"norm_groups: {self.norm_groups} in the configuration does not divide {found.inner_channel}")
        return lines


def _integer(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{value!r} is not a positive integer")
    return value


def _schedule(options: dict[str, Any]) -> Schedule:
    keys = ("schedule", "n_timestep", "linear_start", "linear_end")
    return from_dict(Schedule, {key: options[key] for key in keys}, "beta_schedule")
