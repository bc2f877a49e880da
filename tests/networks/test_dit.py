"""The diffusion transformer, beside the paper's numbers and formulas written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from pdpipe.diffusion import Condition
from pdpipe.networks.dit import DiT, DiTConfig

TINY: dict[str, Any] = {
    "image_size": 8,
    "channels": 3,
    "num_classes": 10,
    "patch_size": 2,
    "width": 16,
    "depth": 2,
    "head_channels": 8,
}


def make(seed: int = 0, **changes: Any) -> DiT:
    """A network whose layers are all random, so that none hides another."""
    network = DiT(DiTConfig(**(TINY | changes)))
    generator = torch.Generator().manual_seed(seed)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.2, generator=generator)
    return network.eval()


def inputs(config: DiTConfig, count: int = 5) -> tuple[Tensor, Tensor, Condition]:
    """(z_t, log_snr, condition), with every label another class and every w another."""
    shape = (count, config.channels, config.image_size, config.image_size)
    z_t = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    given = Condition(torch.arange(count) % 10, torch.linspace(0, 4, count))
    return z_t, torch.linspace(-8, 8, count), given


# DiT, table 4: parameters of each size with patches of 2, on latents of 32 x 32 x 4 and 1000
# classes, noise and its variance predicted. Its time embedding begins at 256 features of the time,
# ours at as many as a token has.
PUBLISHED = {
    (384, 12, 6): 33e6,
    (768, 12, 12): 130e6,
    (1024, 24, 16): 458e6,
    (1152, 28, 16): 675e6,
}


@pytest.mark.parametrize("size", PUBLISHED)
def test_the_published_sizes_have_the_published_number_of_parameters(
    size: tuple[int, int, int],
) -> None:
    width, depth, heads = size
    config = DiTConfig(
        image_size=32,
        channels=4,
        num_classes=1000,
        patch_size=2,
        width=width,
        depth=depth,
        head_channels=width // heads,
        heads=2,
    )
    with torch.device("meta"):
        network = DiT(config)
    count = sum(p.numel() for p in network.parameters()) + network._places().numel()
    longer_time = (width - 256) * width
    assert abs(count - longer_time - PUBLISHED[size]) < 1e6


LAYOUTS: list[dict[str, Any]] = [
    {},
    {"patch_size": 1, "image_size": 4},
    {"patch_size": 8},
    {"heads": 2, "channels": 1, "depth": 1},
    {"w_frequencies": 4, "w_max": 4.0},
    {"num_classes": 0},
    {"mlp_ratio": 2, "dropout": 0.5},
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_output_is_shaped_like_the_image_and_depends_on_every_weight(
    layout: dict[str, Any],
) -> None:
    network = make(**layout)
    z_t, log_snr, given = inputs(network.config)
    out = network(z_t, log_snr, given)
    assert out.shape == (len(z_t), network.config.heads * z_t.shape[1], *z_t.shape[2:])
    out.square().sum().backward()
    still = [name for name, p in network.named_parameters() if not p.grad.abs().sum() > 0]
    assert not still


@pytest.mark.parametrize("layout", LAYOUTS)
def test_untrained_network_outputs_exactly_zero(layout: dict[str, Any]) -> None:
    network = DiT(DiTConfig(**(TINY | layout)))
    assert not network(*inputs(network.config)).any()


def test_blocks_start_as_the_identity() -> None:
    torch.manual_seed(0)
    network = DiT(DiTConfig(**TINY))
    h, emb = torch.randn(2, 16, 16), torch.randn(2, 16)
    for block in network.blocks:
        assert torch.equal(block(h, emb), h)


def test_a_network_is_the_papers_formulas() -> None:
    """Every token by itself, every head by itself, patch by patch: nothing shared with ours."""
    network = make(w_frequencies=4, w_max=4.0)
    c, (z_t, log_snr, given) = network.config, inputs(network.config, count=2)
    side, p, width = 4, c.patch_size, c.width
    found = network(z_t, log_snr, given)
    for n in range(2):
        emb = network.embed_time(log_snr)[n] + network.embed_label(given.label)[n]
        emb = F.silu(emb + network.embed_w(given.w)[n])
        tokens = []
        for row in range(side):
            for column in range(side):
                y, x = row * p, column * p
                patch = z_t[n, :, y : y + p, x : x + p].reshape(-1)  # channel, then row, column
                place = network._places()[row * side + column]
                tokens.append(network.patches_in(patch) + place)
        for block in network.blocks:
            parts = block.modulate.layer(emb).reshape(6, width)
            scale, shift, gate, mlp_scale, mlp_shift, mlp_gate = parts
            normed = [normal(token) * (1 + scale) + shift for token in tokens]
            values = attended(block, normed, c.head_channels)
            tokens = [t + gate * v for t, v in zip(tokens, values, strict=True)]
            tokens = [
                t + mlp_gate * block.mlp(normal(t) * (1 + mlp_scale) + mlp_shift) for t in tokens
            ]
        scale, shift = network.modulate_out.layer(emb).reshape(2, width)
        for i, token in enumerate(tokens):
            y, x = i // side * p, i % side * p
            patch = network.patches_out(normal(token) * (1 + scale) + shift).reshape(3, p, p)
            assert_close(found[n, :, y : y + p, x : x + p], patch, rtol=1e-3, atol=1e-3)


def normal(token: Tensor) -> Tensor:
    """A token with mean 0 and variance 1."""
    return (token - token.mean()) / (token.var(correction=0) + 1e-6).sqrt()


def attended(block: Any, tokens: list[Tensor], head: int) -> list[Tensor]:
    """Softmax attention, a head and a query at a time."""
    qkv = torch.stack([block.qkv(token) for token in tokens])  # (L, 3 width)
    width = qkv.shape[1] // 3
    q, k, v = qkv[:, :width], qkv[:, width : 2 * width], qkv[:, 2 * width :]
    found = torch.empty(len(tokens), width)
    for start in range(0, width, head):
        part = slice(start, start + head)
        for i in range(len(tokens)):
            share = torch.softmax(k[:, part] @ q[i, part] / head**0.5, dim=0)
            found[i, part] = share @ v[:, part]
    return [block.project(value) for value in found]


def test_w_does_nothing_before_the_first_update_and_the_null_label_is_one_more() -> None:
    plain = make()
    guided = DiT(DiTConfig(**TINY, w_frequencies=4, w_max=4.0)).eval()
    guided.load_state_dict(plain.state_dict(), strict=False)
    z_t, log_snr, given = inputs(plain.config)
    assert torch.equal(plain(z_t, log_snr, given), guided(z_t, log_snr, given))
    nothing = plain.null(given)
    assert nothing.label is not None
    assert set(nothing.label.tolist()) == {10}
    assert not torch.equal(plain(z_t, log_snr, nothing), plain(z_t, log_snr, given))


def test_heads_must_fill_a_token() -> None:
    with pytest.raises(ValueError, match="do not fill 16"):
        DiT(DiTConfig(**(TINY | {"head_channels": 6})))
