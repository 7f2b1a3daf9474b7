"""Bad input of every kind: refused in one line, never a traceback, a hang, gigabytes of memory or a wrong success."""

from random import Random

import pytest
from fuzz import arguments, commands, tensors
from fuzz.runner import fault

import gatezoo

CASES_A_CHUNK = 50
# Case makers, and the number of chunks of each.
KINDS = {
    "image": (commands.image_case, 9),
    "label": (commands.label_case, 6),
    "option": (arguments.option_case, 8),
    "tensor": (tensors.image_case, 6),
    "depth": (tensors.depth_case, 1),
    "argument": (tensors.argument_case, 4),
    "interface": (tensors.interface_case, 2),
}
CHUNKS = [(kind, number) for kind, (_, count) in KINDS.items() for number in range(count)]
NETWORKS = ("test_fcn", "test_dignet", "test_maskrcnn_fpn", "test_depthgate_given")


class Networks(dict):
    """Model folders, as the command line names them; ``models`` are the networks themselves."""

    def __init__(self, root):
        self.models = {name: gatezoo.create_model(name, num_classes=2).eval() for name in NETWORKS}
        for name, model in self.models.items():
            first = "background" if model.task == "instance" else "ground"
            self[name] = f"local-dir:{gatezoo.save_pretrained(model, root / name, [first, 'disc'])}"


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    return Networks(tmp_path_factory.mktemp("networks"))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "chunk"), CHUNKS)
def test_bad_input(kind, chunk, networks, tmp_path, monkeypatch):
    faults = []
    for number in range(chunk * CASES_A_CHUNK, (chunk + 1) * CASES_A_CHUNK):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        # Each case has a seed of its own: it is the same whether it runs alone or in its chunk.
        case = KINDS[kind][0](Random(f"{kind} {number}"), folder, networks)
        if found := fault(case, folder):
            faults.append(f"{kind} {number} ({case.name}): {found}")
    assert not faults, "\n".join(faults)
