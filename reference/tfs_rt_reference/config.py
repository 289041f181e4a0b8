"""The published programs' option file: JSON with `//` comments."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfs_rt.errors import ModelError
from tfs_rt.spec import Architecture, Schedule, from_dict

COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*')


@dataclass(frozen=True, slots=True)
class PublishedConfig:
    """What an option file declares of a model."""

    unet: dict[str, Any]
    schedules: tuple[Schedule, ...]  # that of inference (`val`) first
    image_size: int

    @classmethod
    def read(cls, path: Path) -> PublishedConfig:
        """Read an option file; ModelError if a part that matters is missing or malformed."""
        try:
            model = json.loads(COMMENT.sub(r"\1", path.read_text(encoding="utf-8")))["model"]
            schedules = tuple(_schedule(model["beta_schedule"][phase]) for phase in ("val", "train"))
            return cls(dict(model["unet"]), schedules, int(model["diffusion"]["image_size"]))
        except OSError as error:
            raise ModelError(path, f"cannot be read ({error.strerror})", "check the path given to --config") from error
        except KeyError as error:
            raise ModelError(path, f"lacks the key {error}", "give the option file of the published program") from error
        except (ValueError, TypeError) as error:
            raise ModelError(path, f"is no option file ({error})", "give the published program's JSON") from error

    @property
    def norm_groups(self) -> int:
        """Groups of every normalisation; the published program's default is 32."""
        return int(self.unet.get("norm_groups") or 32)

    def differences(self, found: Architecture) -> list[str]:
        """One line for each field in which this configuration and a checkpoint's tensors disagree."""
        declared = {
            "in_channel": self.unet.get("in_channel"),
            "out_channel": self.unet.get("out_channel"),
            "inner_channel": self.unet.get("inner_channel"),
            "channel_multiplier": tuple(self.unet.get("channel_multiplier") or ()) or None,
            "res_blocks": self.unet.get("res_blocks"),
            "attention_levels": self._attention_levels(len(found.channel_multiplier)),
        }
        return [
            f"{name}: {getattr(found, name)} in the checkpoint, {value} in the configuration"
            for name, value in declared.items()
            if value is not None and value != getattr(found, name)
        ]

    def _attention_levels(self, levels: int) -> tuple[int, ...] | None:
        if not self.unet.get("attn_res"):
            return None
        return tuple(i for i in range(levels) if self.image_size >> i in self.unet["attn_res"])


def _schedule(options: dict[str, Any]) -> Schedule:
    keys = ("schedule", "n_timestep", "linear_start", "linear_end")
    return from_dict(Schedule, {key: options[key] for key in keys}, "beta_schedule")
