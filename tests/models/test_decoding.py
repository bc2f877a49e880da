"""Noise that is given to images, and images to noise and back: the same DDIM both ways."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from pdpipe.errors import ModelError
from pdpipe.models import DiffusionModel, decode_noise, encode_images, sample_noise

MakeModel = Callable[..., DiffusionModel]
STUDENT = {"w_frequencies": 4, "w_max": 4.0}
LABELS = torch.arange(7)


@pytest.fixture
def student(make_model: MakeModel) -> DiffusionModel:
    return make_model(STUDENT)


@pytest.fixture
def noise(student: DiffusionModel) -> Tensor:
    return sample_noise(student.info.image_shape, 3, 0, len(LABELS))


@pytest.mark.parametrize("clip", [True, False])
def test_decoding_the_noise_of_a_seed_is_sampling_it(
    clip: bool, student: DiffusionModel, noise: Tensor
) -> None:
    decoded = decode_noise(student, noise, LABELS, w=1.5, steps=3, clip=clip, batch_size=4)
    sampled = student.sample(LABELS, w=1.5, steps=3, seed=3, clip=clip)
    assert_close(decoded, sampled, rtol=0, atol=1e-4)
    assert decoded.shape == noise.shape


def test_a_teachers_guidance_takes_part_in_both_ways(make_model: MakeModel, noise: Tensor) -> None:
    teacher = make_model()
    for way in (encode_images, decode_noise):
        plain, guided = (way(teacher, noise, LABELS, w=w, steps=2) for w in (0.0, 2.0))
        assert not torch.allclose(plain, guided, atol=1e-3)


def test_many_steps_lead_back_to_the_image(student: DiffusionModel, noise: Tensor) -> None:
    """A random network is no denoiser, but its flow can be followed either way."""
    x, errors = noise * 0.5, []
    for steps in (30, 60, 120):
        z_1 = encode_images(student, x, LABELS, steps=steps)
        back = decode_noise(student, z_1, LABELS, steps=steps, clip=False)
        errors.append(float((back - x).square().mean()))
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 0.02 * float(x.square().mean())


def test_an_encoder_does_not_decode(make_model: MakeModel, noise: Tensor) -> None:
    encoder = make_model(STUDENT, kind="encoder", name="encoder-2", steps=2)
    with pytest.raises(ModelError, match=r"encoder-2 is an encoder, .* decode with the teacher or"):
        decode_noise(encoder, noise, LABELS)


def test_what_cannot_be_decoded(student: DiffusionModel, noise: Tensor) -> None:
    with pytest.raises(ModelError, match=r"takes images of shape \(1, 8, 8\) .* not \(1, 4, 8"):
        decode_noise(student, noise[:, :, :4], LABELS)
    with pytest.raises(ModelError, match="label 10 is not a class of student-4"):
        decode_noise(student, noise, LABELS + 10)
    with pytest.raises(ModelError, match="trained for guidance weights w from 0 to 4, not 5"):
        decode_noise(student, noise, LABELS, w=5.0)
    with pytest.raises(ModelError, match="the number of steps is 0: use 1 or more"):
        decode_noise(student, noise, LABELS, steps=0)
