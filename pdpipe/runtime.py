"""Where and how it runs: device, threads, precision.

No result may depend on this module by more than rounding. That of bfloat16 is coarse enough to
matter: `precision` says where it may be used.
"""

from __future__ import annotations

import contextlib
import ctypes
import platform
import random
import warnings
from typing import TYPE_CHECKING, Any, Literal

from pdpipe import __version__
from pdpipe.errors import ParamsError, brief

if TYPE_CHECKING:
    import torch

    from pdpipe.params import RuntimeParams

# Parameters of glibc's mallopt, and what to set them to, in bytes.
_MALLOC_SETTINGS = {
    -3: 32 << 20,  # M_MMAP_THRESHOLD: blocks up to here come from the heap; the most glibc takes
    -1: 1 << 30,  # M_TRIM_THRESHOLD: of the heap, this much is kept when it is free
    -2: 64 << 20,  # M_TOP_PAD: and it grows by this much at a time
}


def resolve_device(name: str) -> torch.device:
    """The torch device of a name; `auto` is cuda, then mps, then cpu.

    Raises:
        ParamsError: the name is not a device, or this machine has none of that kind.
    """
    import torch

    if name == "auto":
        mps = torch.backends.mps.is_available()
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()  # also refuses `meta`, which computes nothing
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        from pdpipe.params import spelled

        raise ParamsError(
            f"runtime.device (or PDPIPE_DEVICE, --device) is {spelled(name)}, which cannot be used "
            f"here ({brief(error)}): choose auto, cpu, cuda or mps"
        ) from None
    return device


def configure(runtime: RuntimeParams) -> torch.device:
    """Apply threads and memory settings to this process; returns the device to use."""
    import torch

    keep_freed_memory()
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    device = resolve_device(runtime.device)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        # By default convolutions round to TF32, with 3 bits more than bfloat16: too coarse as well.
        torch.backends.cudnn.allow_tf32 = False
    return device


def check_compiler(device: torch.device) -> None:
    """Compile something small, never compiled before: nothing else shows that it can be done.

    Raises:
        ParamsError: torch.compile does not work here.
    """
    import torch

    new = random.SystemRandom().random()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, of its own parts
            torch.compile(lambda x: x + new)(torch.zeros(2, device=device))
    except Exception as error:  # of torch, of Triton, of a compiler
        reason = " ".join(str(error).partition("\n")[0].split())[:160]
        raise ParamsError(
            f"runtime.compile (or PDPIPE_COMPILE) is true, but torch.compile does not work on "
            f"{device.type} here ({reason}): install a C++ compiler such as g++, or set it to false"
        ) from None


def keep_freed_memory() -> bool:
    """Have malloc keep the memory that tensors free; False where it is not glibc's.

    By default glibc hands large blocks back to the system and takes the next ones page by page:
    thousands of page faults in each pass through a small network, a tenth to a fifth of its time.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    taken = [mallopt(name, size) == 1 for name, size in _MALLOC_SETTINGS.items()]
    return all(taken)


Precision = Literal["float32", "bfloat16"]
SHORT_RUNG = 16  # the most steps of a student to distil in bfloat16: docs/precision.md


def needs_float32(parameterization: str, steps: int = 0) -> bool:
    """Whether rounding to bfloat16 would drown what is learned or measured.

    A network that predicts x or eps errs in v by its rounding over sigma or alpha. And a student
    has to learn a change of v that falls like 1/N, while the rounding does not: up to `SHORT_RUNG`
    steps it is at most a tenth of that change.

    Args:
        parameterization: what the network predicts.
        steps: N of the student that is distilled; 0 where none is halved.
    """
    return parameterization not in ("v", "x_eps") or steps > SHORT_RUNG


def precision(device: torch.device, runtime: RuntimeParams, exact: bool) -> Precision:
    """The precision of the networks: as set; of `auto`, bfloat16 on CUDA, unless it must be exact.

    On a CPU `auto` is float32.
    """
    if runtime.precision != "auto":
        return runtime.precision
    return "bfloat16" if device.type == "cuda" and not exact else "float32"


def autocast(
    device: torch.device, precision: Precision
) -> contextlib.AbstractContextManager[object]:
    """The context in which networks run: bfloat16 autocast, or nothing for float32."""
    import torch

    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def machine(device: torch.device) -> dict[str, Any]:
    """What a cost figure depends on: device and its name, threads, versions, platform."""
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor_name()
    return {
        "device": str(device),
        "name": name,
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "pdpipe": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
    }


def _processor_name() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
