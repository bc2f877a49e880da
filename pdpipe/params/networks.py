"""Section `network`: the sizes of the network that it names, a class for each network.

The classes stand beside `NETWORKS` of `pdpipe/registry.py`, and check what can be checked without
torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from pdpipe.errors import ParamsError
from pdpipe.params.section import Channels, Count, Section

WIDEST = 2**14  # channels of a level


def _is_default(name: str) -> bool:
    return name == "unet"


class NetworkParams(Section):
    """What every network has; each class declares it, at the place that it has in stored files."""

    if TYPE_CHECKING:
        name: str
        conditional: bool

    @property
    def sizes(self) -> dict[str, Any]:
        """The fields of the network's own config."""
        return self.model_dump(exclude={"name", "conditional"})

    def check(self, image_size: int) -> None:
        """Refuse sizes that do not fit each other or the images; raises ParamsError."""
        raise NotImplementedError


class UNetParams(NetworkParams):
    """The U-Net."""

    # Left out of what is stored, as in what was stored before there were other networks.
    name: Literal["unet"] = Field("unet", exclude_if=_is_default)
    base_channels: Annotated[int, Field(ge=4, le=2**12, multiple_of=4)]
    channel_multipliers: Annotated[list[Channels], Field(min_length=1, max_length=10)]
    blocks_per_level: Annotated[int, Field(ge=1, le=64)]
    attention_resolutions: list[Count]
    head_channels: Channels
    embedding_channels: Annotated[int, Field(ge=2, le=2**14, multiple_of=2)]
    norm_groups: Channels | None = None  # None: the rule of earlier versions, layer by layer
    resample_blocks: bool
    conditional: bool

    def check(self, image_size: int) -> None:
        """Every level but the last halves the image; attention sits at a side that occurs.

        Heads and groups divide the channels wherever there are any.
        """
        halvings = len(self.channel_multipliers) - 1
        if image_size % 2**halvings:
            raise ParamsError(
                f"data.image_size {image_size} cannot be halved at every level of "
                f"network.channel_multipliers but the last, of which there are {halvings}: use a "
                f"multiple of {2**halvings} or fewer levels"
            )
        sides = [image_size // 2**level for level in range(halvings + 1)]
        for side in self.attention_resolutions:
            if side not in sides:
                raise ParamsError(
                    f"network.attention_resolutions has {side}, but the image sides in the network "
                    f"are {', '.join(map(str, sides))}: choose from those"
                )
        self._check_channels(sides)
        if self.norm_groups is not None:
            _check_groups(self.norm_groups, self.base_channels, sides[-1])

    def _check_channels(self, sides: list[int]) -> None:
        """No level is too wide, and heads fill it where it attends."""
        for side, multiplier in zip(sides, self.channel_multipliers, strict=True):
            width = self.base_channels * multiplier
            if width > WIDEST:
                raise ParamsError(
                    f"network.base_channels {self.base_channels} times {multiplier} of "
                    f"network.channel_multipliers is a level of {width} channels: use {WIDEST} at "
                    "most"
                )
            attended = side == sides[-1] or side in self.attention_resolutions  # the middle always
            if attended and width % self.head_channels:
                raise ParamsError(
                    f"network.head_channels {self.head_channels} does not divide the level width "
                    f"{width} (base_channels x multiplier): use a divisor of it"
                )


def _check_groups(wanted: int, base: int, side: int) -> None:
    """The groups divide every layer's channels, all multiples of the base; none has one value."""

    def fits(groups: int) -> bool:
        return base % groups == 0 and base // groups * side**2 > 1

    if not fits(wanted):
        fitting = [str(groups) for groups in range(1, min(base, 64) + 1) if fits(groups)]
        raise ParamsError(
            f"network.norm_groups {wanted} does not divide the channels of every "
            f"layer, multiples of network.base_channels {base}, into groups of several values: "
            f"use {', '.join(fitting[:-1])} or {fitting[-1]}"
        )


class DiTParams(NetworkParams):
    """The diffusion transformer."""

    name: Literal["dit"]
    patch_size: Annotated[int, Field(ge=1, le=2**10)]  # side of a patch, in pixels
    width: Annotated[int, Field(ge=4, le=2**14, multiple_of=4)]  # channels of a token
    depth: Annotated[int, Field(ge=1, le=256)]  # blocks
    head_channels: Channels
    mlp_ratio: Annotated[int, Field(ge=1, le=16)] = 4
    conditional: bool

    def check(self, image_size: int) -> None:
        """Patches fill the image, and heads a token."""
        if image_size % self.patch_size:
            raise ParamsError(
                f"network.patch_size {self.patch_size} does not divide data.image_size "
                f"{image_size}: use a divisor of it"
            )
        if self.width % self.head_channels:
            raise ParamsError(
                f"network.head_channels {self.head_channels} does not divide network.width "
                f"{self.width}: use a divisor of it"
            )


SECTIONS: dict[str, type[NetworkParams]] = {"unet": UNetParams, "dit": DiTParams}


def _name_of(section: Any) -> Any:
    """The name that a section gives, of a file or as an object; the U-Net's if it gives none."""
    if isinstance(section, dict):
        return str(section.get("name", "unet"))
    return getattr(section, "name", "unet")


AnyNetworkParams = Annotated[
    Annotated[UNetParams, Tag("unet")] | Annotated[DiTParams, Tag("dit")],
    Discriminator(_name_of),
]
