import pytest
import torch
import torchvision
from conftest import run_python
from safetensors.torch import save_file
from torchvision.models import resnet18

from deeplense.classification.outputs import loss_function, probabilities
from deeplense.config import ModelConfig
from deeplense.errors import InputError
from deeplense.network import model as module
from deeplense.network.model import build_model, initialize


@pytest.fixture
def imagenet(tmp_path, monkeypatch):
    """Weights in torch's cache under the name of the real ones, and like them without counters of batches."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(7)
    state = {name: value for name, value in resnet18().state_dict().items() if not name.endswith("batches_tracked")}
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(state, tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth")
    return state


@pytest.fixture
def no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)


@pytest.mark.parametrize(("classes", "outputs"), [(2, 1), (3, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes(classes, outputs, channels):
    network = build_model(classes, channels)
    assert network(torch.zeros(2, channels, 64, 64)).shape == (2, outputs)


def test_the_imagenet_stem_is_summed_over_colour(imagenet):
    """A grey image gives what the colour network gives for it in three channels."""
    network = build_model(2, 1)
    assert initialize(network, ModelConfig("imagenet")).effective == "imagenet"
    torch.testing.assert_close(network.conv1.weight, imagenet["conv1.weight"].sum(1, keepdim=True))
    colour = resnet18()
    colour.load_state_dict(imagenet)
    grey = torch.rand(2, 1, 64, 64)
    torch.testing.assert_close(network.conv1(grey), colour.conv1(grey.expand(-1, 3, -1, -1)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(network.layer4.state_dict(), colour.layer4.state_dict())
    assert initialize(build_model(2, 3), ModelConfig("auto")).effective == "imagenet"


def test_auto_without_network_is_random_and_says_so(no_network):
    outcome = initialize(build_model(2), ModelConfig("auto"))
    assert outcome.effective == "random"
    assert "NO IMAGENET WEIGHTS" in outcome.warning
    assert "Network is unreachable" in outcome.warning
    assert initialize(build_model(2), ModelConfig("random")).warning is None


def test_imagenet_without_network_stops(no_network):
    with pytest.raises(
        InputError, match=r"--init imagenet: the weights are not in .*: run `python -m deeplense.model`"
    ):
        initialize(build_model(2), ModelConfig("imagenet"))


def test_a_damaged_download_is_as_good_as_none(imagenet, tmp_path):
    file = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    file.write_bytes(file.read_bytes()[:1000])
    assert initialize(build_model(2), ModelConfig("auto")).effective == "random"


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_from_a_file(tmp_path, suffix):
    source = build_model(2)
    file = tmp_path / f"weights{suffix}"
    save_file(source.state_dict(), file) if suffix == ".safetensors" else torch.save(source.state_dict(), file)
    network = build_model(2)
    assert initialize(network, ModelConfig(str(file))).effective == str(file)
    torch.testing.assert_close(network.state_dict(), source.state_dict())
    three = build_model(3)
    initialize(three, ModelConfig(str(file)))  # another head: stays as it was drawn
    torch.testing.assert_close(three.layer1.state_dict(), source.layer1.state_dict())
    assert three.fc.out_features == 3


def test_files_that_are_no_weights(tmp_path):
    def refusal(name):
        with pytest.raises(InputError) as error:
            initialize(build_model(2), ModelConfig(str(tmp_path / name)))
        return str(error.value)

    assert "there is no such file" in refusal("none.pth")
    (tmp_path / "text.pth").write_text("hello")
    assert "cannot be read as weights" in refusal("text.pth")
    (tmp_path / "text.safetensors").write_text("hello")
    assert "cannot be read as weights" in refusal("text.safetensors")
    torch.save({"a": torch.zeros(3)}, tmp_path / "other.pth")
    assert "not those of a ResNet-18" in refusal("other.pth")


@pytest.mark.slow
def test_fetching_for_machines_without_network(imagenet, tmp_path, monkeypatch):
    done = run_python("-m", "deeplense.model", TORCH_HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, f"the ImageNet weights are in {tmp_path}/hub/checkpoints\n")
    (tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth").unlink()
    monkeypatch.setattr(module, "FETCH_SECONDS", 1)
    done = run_python("-m", "deeplense.model", TORCH_HOME=str(tmp_path), https_proxy="http://127.0.0.1:9")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: the ImageNet weights cannot be fetched")


@pytest.mark.parametrize(("classes", "logits"), [(2, [[0.3], [-2.0]]), (3, [[1.0, 2.0, -1.0], [0.0, 0.5, 3.0]])])
def test_smoothed_labels_go_to_all_classes_alike(classes, logits):
    """By the definition (Szegedy et al. 2016): 1 - s of the label, and s of all classes in equal parts."""
    logits, labels, smoothing = torch.tensor(logits), torch.tensor([1, 0]), 0.2
    wanted = torch.nn.functional.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes
    expected = -(wanted * probabilities(logits).log()).sum(1).mean()
    torch.testing.assert_close(loss_function(classes, logits, labels, smoothing).double(), expected, atol=1e-6, rtol=0)


def test_losses_and_probabilities():
    logits, labels = torch.tensor([[0.3], [-2.0]]), torch.tensor([1, 0])
    chance = 1 / (1 + torch.exp(-logits.double()[:, 0]))
    torch.testing.assert_close(probabilities(logits), torch.stack([1 - chance, chance], 1))
    expected = -(chance[0].log() + (1 - chance[1]).log()) / 2
    torch.testing.assert_close(loss_function(2, logits, labels).double(), expected, atol=1e-6, rtol=0)
    three = torch.tensor([[0.0, 1.0, 2.0]])
    torch.testing.assert_close(probabilities(three).sum(1), torch.ones(1, dtype=torch.double))
    torch.testing.assert_close(
        loss_function(3, three, torch.tensor([2])).double(), -probabilities(three)[0, 2].log(), atol=1e-6, rtol=0
    )


def test_the_stem_gives_what_torchvisions_does():
    """Which takes the positive part first, of four times as many numbers: to the bit, gradients too."""
    torch.manual_seed(0)
    ours = build_model(2, 3)
    theirs = torchvision.models.resnet18(num_classes=1)
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(4, 3, 64, 64)
    logits = [network(images) for network in (ours, theirs)]
    assert torch.equal(*logits)
    for own in logits:
        own.sum().backward()
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(own.grad, other.grad)
