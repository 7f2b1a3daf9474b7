"""Write a Space of the Hugging Face Hub: the page of ``gatezoo app`` for one network."""

from __future__ import annotations

import os
import re
from importlib import metadata
from pathlib import Path

from ..factory import create_model, from_pretrained, load_model
from ..utils.files import check_new_folder, new_folder, write_text
from ..utils.optional import require_extra
from ..weights.config import CARD
from .card_header import space_header
from .golden import FP32_TOLERANCE, golden_logits, logit_error
from .model_card import escape
from .model_folder import save_pretrained

APP, REQUIREMENTS, MODEL = "app.py", "requirements.txt", "model"
_PACKAGE = re.compile(r"gatezoo\[[\w,\s-]*\bapp\b[\w,\s-]*\]\s*([=<>!~@;].*)?")
_APP = '''"""Serve the network in the folder model/ on a page of gatezoo."""

from pathlib import Path

from gatezoo.app import serve

MODEL = Path(__file__).resolve().parent / "model"
NAME = {name!r}

if __name__ == "__main__":
    serve({{str(MODEL): NAME}}, host=None, port=None, only=True, title=NAME)
'''
_TEXT = """# {name}

Upload an image, or take a drawn sample: the page shows the classes or instances that the network finds in it, what each
of its passes and gates does, and what one pixel is taken for. Uploaded images are read and deleted.

The network is in the folder `model`, with its card. The page is `gatezoo app`; `app.py` also runs on your own machine,
after `pip install -r requirements.txt`.

License of the weights: {license}.
"""


def write_space(
    source: str,
    folder: str | os.PathLike,
    license: str | None = None,
    repo: str | None = None,
    package: str | None = None,
) -> list[Path]:
    """Write the folder of a Space: app.py, requirements.txt, README.md and the network in ``model/``.

    Args:
        source: NAME.TAG, a model folder, a repository of the Hub, or a checkpoint of ``gatezoo train``.
        folder: an empty or missing one.
        license: of the weights; default: their own.
        repo: ORG/NAME where the weights are published too, for the card.
        package: what the Space installs, such as "gatezoo[app] @ git+https://..."; default: this version.

    Returns:
        The files, in order of name.

    Raises:
        ValueError: Gradio is not installed, no license, a folder that is not empty, a package without the extra
            ``app``, or a source that :func:`gatezoo.from_pretrained` refuses. Then nothing is written.
    """
    folder = Path(folder)
    require_extra("app", "a Space", "gradio")
    check_new_folder(folder, "the folder of a Space")
    package = package or f"gatezoo[app]=={metadata.version('gatezoo')}"
    if not _PACKAGE.fullmatch(package):
        raise ValueError(f"the package of a Space must be gatezoo[app], with a version or an address; got {package!r}")
    model = load_model(source) if source.endswith(".safetensors") else from_pretrained(source)
    cfg = model.pretrained_cfg
    license = license or (cfg.license if cfg else "")
    if not license:
        raise ValueError(f"published weights must have a license; {source} has none: pass --license, such as CC-BY-4.0")
    name = cfg.name if cfg else str(model.architecture)
    with new_folder(folder) as built:
        save_pretrained(model, built / MODEL, license=license)
        saved = create_model(f"local-dir:{built / MODEL}", pretrained=True)
        error = logit_error(golden_logits(model), golden_logits(saved))
        if error > FP32_TOLERANCE:
            raise ValueError(
                f"the network of a Space must give the logits of its source; their error is {error:.2g} of their "
                "spread: report a bug"
            )
        header = space_header(name, metadata.version("gradio"), APP, license, repo)
        write_text(built / CARD, f"---\n{header}\n---\n\n{_TEXT.format(name=escape(name), license=escape(license))}")
        write_text(built / APP, _APP.format(name=name))
        write_text(built / REQUIREMENTS, f"{package}\n")
    return sorted(path for path in folder.rglob("*") if path.is_file())
