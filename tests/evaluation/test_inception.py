"""The Inception network, with random weights in a file of the published layout."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest
import torch

from pdpipe.errors import EvaluationError
from pdpipe.evaluation.features import extract_features
from pdpipe.evaluation.fidelity import torch_fidelity
from pdpipe.evaluation.inception import Inception, load_inception


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict such as torch-fidelity publishes, of random numbers."""
    module = torch_fidelity("feature_extractor_inceptionv3")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        with pytest.MonkeyPatch.context() as patch:  # its constructor would go to the network
            patch.setattr(module, "load_state_dict_from_url", lambda *_, **__: {})
            network = module.FeatureExtractorInceptionV3
            patch.setattr(network, "load_state_dict", lambda *_: None)
            state = network("x", ["2048"]).state_dict()
    path = tmp_path_factory.mktemp("weights") / "weights-inception.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def loaded(weights: Path) -> tuple[Inception, str]:
    return load_inception(weights, digest(weights)[:8])


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_it_sees_what_torch_fidelitys_own_extractor_sees(
    weights: Path, loaded: tuple[Inception, str]
) -> None:
    inception, sha256 = loaded
    assert sha256 == digest(weights)
    images = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    direct = torch_fidelity("feature_extractor_inceptionv3").FeatureExtractorInceptionV3(
        "x", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(weights)
    )
    features, logits = direct(images)
    found = extract_features(inception, images)
    assert found.features.shape == (3, 2048)
    assert found.logits.shape == (3, 1008)
    torch.testing.assert_close(found.features, features)
    torch.testing.assert_close(found.logits, logits)
    assert found.features.std() > 0

    grey = images[:, :1]
    same = extract_features(inception, grey.expand(-1, 3, -1, -1).contiguous())
    torch.testing.assert_close(extract_features(inception, grey).features, same.features)


def test_a_file_of_another_digest_is_refused(weights: Path) -> None:
    with pytest.raises(EvaluationError, match=r"does not begin with .*\(6726825d\), so its fig"):
        load_inception(weights, "6726825d")


def test_no_file_says_how_to_get_it(tmp_path: Path) -> None:
    how = r"download https://github.com/toshas/.* PDPIPE_WEIGHTS or runtime.weights"
    with pytest.raises(EvaluationError, match=f"needs a weights file: {how}"):
        load_inception(None, "6726825d")
    with pytest.raises(EvaluationError, match=f"w.pth does not exist: {how}"):
        load_inception(tmp_path / "w.pth", "6726825d")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('code from a weights file ran')",))


@pytest.mark.parametrize("kind", ["code", "text", "cut", "other"])
def test_a_file_without_these_weights_is_refused_and_runs_nothing(
    kind: str, weights: Path, tmp_path: Path
) -> None:
    path = tmp_path / "w.pth"
    if kind == "code":
        path.write_bytes(pickle.dumps(Evil(), protocol=2))
    elif kind == "text":
        path.write_text("<html>404</html>")
    elif kind == "cut":
        path.write_bytes(weights.read_bytes()[:100_000])
    else:
        torch.save({"fc.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(EvaluationError, match="does not hold the Inception weights"):
        load_inception(path, digest(path)[:16])
