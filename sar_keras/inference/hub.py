"""Models on the Hugging Face hub: hf://owner/name, or hf://owner/name@revision; needs the extra `hub`.

A file that was downloaded once is in the cache of `huggingface_hub`, which has it where there is no network. Loads no
TensorFlow.
"""

import functools
import os
import re
from pathlib import Path

from sar_keras.errors import ModelError, first_line, is_disk_full

_ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@(.+))?")
_FILE = "generator.keras"


def is_on_hub(model: str | os.PathLike) -> bool:
    """Whether a model's name is an address of the hub."""
    return os.fspath(model).startswith("hf://")


@functools.lru_cache
def download(address: str) -> Path:
    """The file of a model in the local cache; asks the hub once in each process.

    Args:
        address: hf://owner/name, or hf://owner/name@revision: a branch, a tag or a commit.

    Raises:
        ModelError: another address, or one where there is nothing that we may have; or neither the network nor the
            cache has it; or the extra is not installed.
    """
    parts = _ADDRESS.fullmatch(address)
    if not parts:
        raise ModelError(f"{address}: an address on the hub is hf://owner/name or hf://owner/name@revision")
    repository, revision = parts.groups()
    try:
        from huggingface_hub import constants, errors, hf_hub_download
    except ImportError as error:
        raise ModelError(f'{address}: huggingface_hub is not installed: pip install ".[hub]"') from error
    page = f"{constants.ENDPOINT}/{repository}"
    try:
        return Path(hf_hub_download(repository, _FILE, revision=revision))
    except errors.GatedRepoError as error:
        mend = f"is gated: ask for access at {page}, then log in by hf auth login"
        raise ModelError(f"{address}: {mend}") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"{address}: no such model at {page}, or a private one: to see it log in by hf auth login"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"{address}: {repository} has no such revision; {page}/commits/main lists them") from error
    except errors.LocalEntryNotFoundError as error:
        offline = constants.HF_HUB_OFFLINE
        why = "HF_HUB_OFFLINE is set" if offline else f"{constants.ENDPOINT} cannot be reached"
        mend = "unset it" if offline else "check the network"
        raise ModelError(f"{address}: is not in {constants.HF_HUB_CACHE}, and {why}: {mend}") from error
    except errors.EntryNotFoundError as error:
        raise ModelError(f"{address}: holds no {_FILE}; what sar-keras fit saves is called so") from error
    except Exception as error:  # its HTTP library's, which is another one in each of its versions
        if is_disk_full(error) or isinstance(error, PermissionError):
            raise
        raise ModelError(f"{address}: cannot be downloaded: {first_line(error)}") from error


def address_of(path: Path) -> str | None:
    """The address, with its commit, of a file in the cache; None for a file elsewhere.

    The cache has models--owner--name/snapshots/<commit>/generator.keras.
    """
    in_cache = re.fullmatch(r".*/models--([^/]+)--([^/]+)/snapshots/([^/]+)/[^/]+", path.absolute().as_posix())
    return "hf://{}/{}@{}".format(*in_cache.groups()) if in_cache else None
