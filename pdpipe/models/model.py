"""A trained model in use: the teacher with guidance, or a student of few steps."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, NamedTuple, TypedDict, TypeVar, Unpack, overload

import torch
from torch import Tensor

from pdpipe.diffusion import Condition, Denoiser, Sampler, build_schedule, uniform_grid
from pdpipe.errors import ModelError, counted
from pdpipe.models.info import MOST_STEPS, ModelInfo
from pdpipe.models.predictor import Predictor
from pdpipe.models.sampling import make_sampler
from pdpipe.models.trajectory import Trajectory, traced
from pdpipe.networks import Network
from pdpipe.seeds import derive_seed

DEFAULT_TEACHER_STEPS = 64


def sample_noise(image_shape: Sequence[int], seed: int, first: int, count: int) -> Tensor:
    """z_1 of samples `first` … `first + count - 1`: standard normal, (count, C, H, W), on the CPU.

    Every sample has a seed of its own, derived from (seed, its index): its noise is the same bits
    in any batch, on any device.
    """
    noise = torch.empty(count, *image_shape)
    generator = torch.Generator()
    for row, index in enumerate(range(first, first + count)):
        generator.manual_seed(derive_seed(int(seed), "z_1", index))
        noise[row] = torch.randn(tuple(image_shape), generator=generator)
    return noise


class _Settings(TypedDict, total=False):
    """The settings of `DiffusionModel.sample`, for its two kinds of result."""

    n: int | None
    w: float | Sequence[float] | Tensor
    steps: int | None
    seed: int
    clip: bool
    sampler: Sampler | str | None
    grid: Tensor | None
    batch_size: int
    first: int
    on_batch: Callable[[int, int], None] | None


Labels = int | Sequence[int] | Tensor | None


class DiffusionModel:
    """A trained teacher, student or encoder; `pdpipe.load` makes it, `sample` makes images.

    Attributes:
        network: the torch module, in evaluation mode.
        info: what its file says: name, classes, step count, the range of w, where it comes from.
        schedule: its noise schedule, from `pdpipe.diffusion`.
        device: the torch device that it is on.
        sha256: of its file.

    Examples:
        >>> student = pdpipe.load("models/student-4.safetensors", device="cpu")
        >>> student
        <pdpipe student-4: 4 steps, ... parameters>
        >>> student.info.image_shape, student.info.w_max
        ((1, 8, 8), 4.0)
        >>> student.sample(n=16, w=1.0).shape
        torch.Size([16, 1, 8, 8])
    """

    def __init__(
        self, network: Network, info: ModelInfo, device: torch.device, sha256: str
    ) -> None:
        self.network = network
        self.info = info
        self.device = device
        self.sha256 = sha256
        self.schedule = build_schedule(**info.schedule)
        self.autocast: Callable[[], AbstractContextManager[object]] = nullcontext
        self.precision: Literal["float32", "bfloat16"] = "float32"  # of `autocast`

    def __repr__(self) -> str:
        steps = "any steps" if self.info.steps is None else counted(self.info.steps, "step")
        return f"<pdpipe {self.info.name}: {steps}, {self.parameters:,} parameters>"

    @property
    def predictor(self) -> Predictor:
        """Its network and what must be known to use it."""
        return Predictor(self.network, self.schedule, self.info.parameterization)

    @property
    def parameters(self) -> int:
        """The number of trained parameters."""
        return sum(p.numel() for p in self.network.parameters())

    def evaluations_per_step(self, w: float | Tensor) -> int:
        """Network evaluations of one sampling step: 2 where guidance is a mixture, else 1.

        Where each image has a w of its own (B,), those at 0 take as many as the others.
        """
        unguided = not w.any() if isinstance(w, Tensor) else w == 0
        return 1 if self.info.guidance == "input" or unguided else 2

    def denoiser(self, labels: Tensor, w: float | Tensor) -> Denoiser:
        """(z_t, t) -> v_hat for these labels (B,) at guidance weight w, or one each, (B,).

        It is what the samplers of `pdpipe.diffusion` take: z_t (B, C, H, W), t in [0, 1].

        Raises:
            ModelError: w is outside the range the model was trained for.

        Examples:
            >>> teacher = pdpipe.load("models/teacher.safetensors", device="cpu")
            >>> denoise = teacher.denoiser(torch.tensor([3, 7]), w=1.0)
            >>> z_1 = torch.randn(2, 1, 8, 8)
            >>> denoise(z_1, torch.tensor(1.0, dtype=torch.float64)).shape
            torch.Size([2, 1, 8, 8])
        """
        self.check_w(w)
        weights = w if isinstance(w, Tensor) else torch.full((len(labels),), w)
        given = Condition(label=labels, w=weights).to(self.device)
        mixed = self.evaluations_per_step(w) == 2
        return self.predictor.guided(given) if mixed else self.predictor.denoiser(given)

    def check_w(self, w: float | Tensor) -> None:
        """Raise ModelError unless the model may be used at guidance weight w, each if several."""
        if isinstance(w, Tensor):
            for each in set(w.tolist()):
                self.check_w(round(each, 6))  # 0.3 of float32 is a little more than 0.3
            return
        low, high = self.info.w_min, self.info.w_max
        if not low <= w <= (sys.float_info.max if high is None else high):
            upper = "" if high is None else f" to {high:g}"
            raise ModelError(
                f"{self.info.name} was trained for guidance weights w from {low:g}{upper}, not "
                f"{w:g}: choose w in that range (w = 0 is no guidance)"
            )
        if w > 0 and not self.network.conditional:
            raise ModelError(f"{self.info.name} is unconditional: only w = 0 can be used")

    def resolve_steps(self, steps: int | None) -> int:
        """The number of sampling steps: as asked, else the student's own, else 64."""
        chosen = steps if steps is not None else (self.info.steps or DEFAULT_TEACHER_STEPS)
        if not 1 <= chosen <= MOST_STEPS:
            raise ModelError(f"the number of steps is {chosen}: use 1 or more, to {MOST_STEPS:,}")
        return chosen

    def check_labels(self, labels: int | Sequence[int] | Tensor) -> Tensor:
        """The labels as int64 (n,); raises ModelError for one that is not a class index."""
        try:
            given = torch.as_tensor(labels)
        except (TypeError, ValueError, RuntimeError):
            raise ModelError("labels are class indices: give whole numbers") from None
        no_index = given.is_floating_point() or given.is_complex() or given.dtype == torch.bool
        if given.numel() and no_index:
            raise ModelError("labels are class indices: give whole numbers")
        chosen = given.to(torch.int64).reshape(-1)
        classes = len(self.info.classes)
        bad = chosen[(chosen < 0) | (chosen >= classes)]
        if len(bad):
            raise ModelError(
                f"label {int(bad[0])} is not a class of {self.info.name}: it has "
                f"{classes}, numbered 0 to {classes - 1}"
            )
        return chosen

    def choose_labels(self, labels: Labels, n: int | None) -> Tensor:
        """The labels of n images, int64 (n,): those that are given, in turn until there are n.

        Args:
            labels: one or several class indices; None: every class.
            n: by default one image for each of these labels.

        Raises:
            ModelError: a label that is not a class index, or a number of images that is none.
        """
        if labels is None:
            chosen = torch.arange(len(self.info.classes) if self.network.conditional else 1)
        else:
            chosen = self.check_labels(labels)
        if n is None:
            return chosen
        try:
            count = operator.index(n)
        except TypeError:
            count = -1
        if count < 0 or (count > 0 and len(chosen) == 0):
            problem = f"n is {n!r}" if count < 0 else f"there is no label for {n} images"
            raise ModelError(f"{problem}: give a whole number of images, and one label or more")
        return chosen.repeat(-(-count // max(len(chosen), 1)))[:count]

    def check_weights(self, w: float | Sequence[float] | Tensor, count: int) -> float | Tensor:
        """w as a number, or as float32 (count,); raises ModelError where it cannot be used."""
        try:
            given = torch.as_tensor(w)
        except (TypeError, ValueError, RuntimeError):
            given = None
        if given is None or given.is_complex() or given.dtype == torch.bool:
            raise ModelError("w is a guidance weight: give a number, or one for each image")
        if given.dim() and given.shape != (count,):
            shape = "x".join(map(str, given.shape))
            raise ModelError(
                f"w has {shape} number{'s' * (shape != '1')} for {counted(count, 'image')}: give "
                "one number, or one for each image"
            )
        weights = given.detach().cpu().float() if given.dim() else float(w)  # type: ignore[arg-type]
        self.check_w(weights)
        return weights

    @overload
    def sample(
        self,
        labels: Labels = None,
        *,
        return_trajectory: Literal[False] = False,
        **settings: Unpack[_Settings],
    ) -> Tensor: ...

    @overload
    def sample(
        self,
        labels: Labels = None,
        *,
        return_trajectory: Literal[True],
        **settings: Unpack[_Settings],
    ) -> tuple[Tensor, Trajectory]: ...

    def sample(
        self,
        labels: Labels = None,
        *,
        n: int | None = None,
        w: float | Sequence[float] | Tensor = 0.0,
        steps: int | None = None,
        seed: int = 0,
        clip: bool = True,
        sampler: Sampler | str | None = None,
        grid: Tensor | None = None,
        batch_size: int = 256,
        first: int = 0,
        on_batch: Callable[[int, int], None] | None = None,
        return_trajectory: bool = False,
    ) -> Tensor | tuple[Tensor, Trajectory]:
        """Images x in [-1, 1], (n, C, H, W), float32 on the CPU; by default one of each class.

        The noise of sample k, its first and what a stochastic sampler adds, is seeded by (seed,
        first + k), whatever n and the batch size are: more images begin with the same ones, and
        images of different batch sizes agree to 1e-4.

        Args:
            labels: one class index or several, taken in turn until there are n; by default every
                class. An unconditional model takes zeros, or none.
            n: the number of images; by default one for each of the labels.
            w: guidance weight, 0 for none: a number for all, or one for each image, (n,).
            steps: sampling steps; by default the student's own count, 64 for a teacher.
            seed: of the noise.
            clip: clip x_hat to [-1, 1] at every step; without it, x may leave that range.
            sampler: a name, a key of `diffusion.SAMPLERS`, or a sampler on the model's schedule,
                which then has a `clip` of its own; by default the one that it was trained for.
            grid: the times to sample at, such as `discrete_grid`; by default `steps` uniform ones.
            batch_size: images that the network sees at a time; a guided teacher sees each twice,
                and makes half as many.
            first: index of the first sample, to go on where another call ended.
            on_batch: called after each batch with the number of its images and the network
                evaluations that each of them took.
            return_trajectory: return (x, `Trajectory`), with the states along the grid.

        Raises:
            ModelError: a label, n, w, step count, sampler or batch size that cannot be used.
            SamplerError: a grid that is none.

        Examples:
            >>> student = pdpipe.load("models/student-4.safetensors")
            >>> student.sample().shape  # one of each class
            torch.Size([10, 1, 8, 8])
            >>> sevens = student.sample(labels=7, n=16, w=1.0, seed=1)
            >>> several = student.sample(labels=[3, 1, 4], w=[0.0, 1.0, 4.0])
            >>> x, path = student.sample(n=3, return_trajectory=True)
            >>> path.z.shape  # from noise to images: (N + 1, n, C, H, W)
            torch.Size([5, 3, 1, 8, 8])
        """
        by = self._sampler(sampler, clip)
        chosen = self.choose_labels(labels, n)
        weights = self.check_weights(w, len(chosen))
        if batch_size < 1:
            raise ModelError(f"the batch size is {batch_size}: use 1 or more")

        size = max(batch_size // self.evaluations_per_step(weights), 1)
        grid = uniform_grid(self.resolve_steps(steps)) if grid is None else grid

        def make(start: int) -> _Batch:
            part = slice(start, start + size)
            at = weights[part] if isinstance(weights, Tensor) else weights
            return self._make(chosen[part], at, by, grid, seed, first + start, return_trajectory)

        # Without an image there is still a path, of none.
        starts = range(0, max(len(chosen), int(return_trajectory)), size)
        done, paths = [torch.empty(0, *self.info.image_shape)], []
        for batch in _side_by_side(make, starts, self.device):
            done.append(batch.x)
            if batch.path is not None:
                paths.append(batch.path)
            if on_batch is not None:
                on_batch(len(batch.x), batch.evaluations)
        x = torch.cat(done)
        return (x, Trajectory.joined(paths)) if return_trajectory else x

    def _sampler(self, sampler: Sampler | str | None, clip: bool) -> Sampler:
        if self.info.kind == "encoder":
            raise ModelError(
                f"{self.info.name} is an encoder, which leads from images to noise: give its "
                "images to `pdpipe.models.encode_images`, and take a student to make others"
            )
        if sampler is None or isinstance(sampler, str):
            return make_sampler(sampler or self.info.sampler, self.schedule, clip=clip)
        if sampler.schedule != self.schedule:
            raise ModelError(
                f"the sampler has another schedule than {self.info.name}: make it with the model's "
                "own, `model.schedule`"
            )
        return sampler

    @torch.inference_mode()
    def _make(
        self,
        labels: Tensor,
        w: float | Tensor,
        sampler: Sampler,
        grid: Tensor,
        seed: int,
        first: int,
        trace: bool,
    ) -> _Batch:
        """The images of one batch, and their path if it is wanted."""
        noise = sample_noise(self.info.image_shape, seed, first, len(labels)).to(self.device)
        generators = [
            torch.Generator().manual_seed(derive_seed(int(seed), "steps", first + k))
            for k in range(len(labels))
        ]
        path = None
        with self.autocast():
            denoiser = self.denoiser(labels, w)
            if trace:
                end, path = traced(sampler, denoiser, noise, grid, generators)
            else:
                end = sampler.final(denoiser, noise, grid, generators)
        return _Batch(end.z.float().cpu(), end.evaluations, path)


class _Batch(NamedTuple):
    x: Tensor  # float32 on the CPU
    evaluations: int  # of the network, for each image
    path: Trajectory | None


_Made = TypeVar("_Made")


def _side_by_side(
    make: Callable[[int], _Made], items: Sequence[int], device: torch.device
) -> Iterator[_Made]:
    """`make(item)` of each item, in order; on the CPU, as many at a time as torch has threads.

    Each then runs on one thread: a small network cannot fill several, and its images do not
    depend on how many there are.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield from map(make, items)
        return
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        torch.set_num_threads(1)
        yield from pool.map(make, items)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
