from __future__ import annotations

import pytest
import torch

from pdpipe.data import to_uint8, to_unit

ALL = torch.arange(256).to(torch.uint8)


def test_to_unit_is_x_over_127_5_minus_1():
    x = to_unit(ALL)
    assert x.dtype == torch.float32
    expected = torch.tensor([value / 127.5 - 1 for value in range(256)], dtype=torch.float64)
    torch.testing.assert_close(x.double(), expected, rtol=0, atol=1.2e-7)
    assert x[0] == -1
    assert x[255] == 1


def test_to_uint8_undoes_to_unit_for_every_value():
    assert torch.equal(to_uint8(to_unit(ALL)), ALL)
    assert torch.equal(to_uint8(to_unit(ALL).double()), ALL)
    assert torch.equal(to_unit(to_uint8(to_unit(ALL))), to_unit(ALL))


@pytest.mark.parametrize("shift", [-0.49, 0.49])
def test_to_uint8_rounds_to_the_nearest(shift):
    """Truncation would lower every value that is shifted down."""
    inner = ALL[1:-1]
    assert torch.equal(to_uint8((inner.double() + shift) / 127.5 - 1), inner)


def test_to_uint8_clamps():
    x = torch.tensor([-torch.inf, -7.0, -1.01, 1.01, 7.0, torch.inf])
    assert to_uint8(x).tolist() == [0, 0, 0, 255, 255, 255]


def test_shapes_are_kept():
    images = torch.zeros(2, 3, 4, 5, dtype=torch.uint8)
    assert to_unit(images).shape == to_uint8(to_unit(images)).shape == images.shape
