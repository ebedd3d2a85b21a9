"""Split schemes: named splits that are the same for everyone.

A scheme decides by the names of the recordings alone: neither the order of the files, nor the
operating system, nor which other files are present matter. Schemes of a catalog apply to the data
sets whose recordings are all known by name, so that classes are divided exactly, and a part of the
data set is divided as all of it. Schemes by hash apply to any recordings.

The digest of a split is the SHA-256 of its lines "HASH SPLIT", sorted. HASH is the SHA-256 of the
name of a recording, in hexadecimal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from hashlib import sha256
from typing import Any
from unicodedata import normalize

import numpy as np

from lmht_deploy._suggest import unknown
from lmht_deploy.errors import DataError, listed

from ._catalogs import NAMES, Catalog, catalog

FOLDS = 5
SUFFIX = re.compile(r"(?<=[^/])\.[A-Za-z]\w{0,7}$")

DIGESTS = {
    "CIFAR10DVS": {
        "spikingjelly": "6c8aef406e490940402fe03010e8965516366eb961ca625699b7e91a992573c7",
        "tebn": "0e510cdafc2b7574100cc9d6c91da55afe9c2018d44caa71ec24b7275b923ec4",
        "lmht-seed-1029": "719abeb9882650f75a3c6786aacb44b3eb76d992388c792a46e82d9938f8e1fb",
        "random-9-1": "cdb9bb9dcac70c1037a2ace569a0c6f48fbd652f3a44c0bc3da62a7032eabc98",
        "fold-1-of-5": "96a7a1d7c0dabb71854af20668bfac3f0a979fd9dfaf7334b1d279d198b5d6af",
        "fold-2-of-5": "26d60e61badb33a5202d77e1a54cae8de1f6190b4e8edbbf30921b0d5c2f80e4",
        "fold-3-of-5": "d7a5e0ea7e2c8040e5a2cbe96e855046cba79f270447191fdbcd94c9a709ec00",
        "fold-4-of-5": "b2c6f5db03a1670be16663b5355550b3ae24541732c9b5c5accc9a9b6ffb914c",
        "fold-5-of-5": "600f7e64690c156e5f3039f8b03a8a6a5f65fe28c9a371c4253487bd0de47b03",
    },
    "NCALTECH101": {
        "spikingjelly": "2f18a0eabc353aca1b2481ae06c1ceae52f28bf85e9ab30b41b5b23e4c36cc2a",
        "random-9-1": "4953f19c537b7caaa49a9ae8f499f646aea706a674b3d0d27937a68b669c8727",
        "fold-1-of-5": "c83bac7d723d8fdb91d947b6f2d8048f0cde1685ff959b9cc8212092bd2a5f94",
        "fold-2-of-5": "25ee3ef0a8009e615d7ae3d44ca1723c7cb10f71daa681c9afeb7a3ad5668cdc",
        "fold-3-of-5": "2c696e5c0810e035fa2e8205c554d997a42161ad261cb86f9b0974383522471a",
        "fold-4-of-5": "0547a34e2948f19e1c3b0cee1fd7227d8def4e398295494477588a85cda28309",
        "fold-5-of-5": "cdd5227cbbc22215dfb58477fd17be9c23296319f365a4c362fc2d4308553a89",
    },
}
"""Digest of each scheme on the complete data set: a list that differs is an error."""


@dataclass(frozen=True)
class SplitScheme:
    """A named split.

    Attributes:
        name: Name of the scheme.
        meaning: What the test split is, and who uses it.
        data: Data sets with a catalog that it applies to; empty: any recordings.
        test: Which names of all names of a catalog test, bool `[N]`; or, if `data` is empty, which
            of any names.
    """

    name: str
    meaning: str
    data: tuple[str, ...]
    test: Callable[[Sequence[str]], np.ndarray]

    def knows(self, data: str) -> bool:
        """Whether the scheme has a list of all files of a data set, "tonic:CLASS"."""
        return data.removeprefix("tonic:") in self.data and data.startswith("tonic:")


@dataclass(frozen=True)
class SchemeSplit:
    """Recordings divided by a scheme.

    Attributes:
        splits: Split of each recording.
        origin: Name of the scheme, digest, and whether the recordings are a complete data set (None
            if that is not known), as plain values for the provenance.
        notes: One sentence about them, if there is a scheme.
    """

    splits: tuple[str, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


# ------------------------------------------------------------------------------------------- names


def plain_name(name: str) -> str:
    """Return the path of a recording without its suffix, with "/", in Unicode form NFC."""
    return SUFFIX.sub("", normalize("NFC", name).replace("\\", "/"))


def _hash(name: str) -> str:
    return sha256(name.encode(errors="surrogateescape")).hexdigest()


def digest(splits: Mapping[str, str]) -> str:
    """Return the digest of a split: names and their splits."""
    lines = sorted(f"{_hash(name)} {split}\n" for name, split in splits.items())
    return sha256("".join(lines).encode()).hexdigest()


# ------------------------------------------------------------------------------------------- rules


def _by_name(names: Sequence[str]) -> np.ndarray:
    place, size = _places(names)
    test: np.ndarray = place >= np.ceil(size * 0.9)
    return test


def _first_hundred(names: Sequence[str]) -> np.ndarray:
    return np.array([int(name.rpartition("_")[2]) < 100 for name in names])


def _drawn(names: Sequence[str], seed: int) -> np.ndarray:
    """The last tenth of `torch.randperm` with a generator of this seed, as NumPy computes it."""
    raw = np.random.RandomState(seed).randint(0, 2**32, len(names), dtype=np.uint32).tolist()
    order = list(range(len(names)))
    for index in range(len(order) - 1):
        other = index + raw[index] % (len(order) - index)
        order[index], order[other] = order[other], order[index]
    test = np.zeros(len(order), bool)
    test[order[len(order) * 9 // 10 :]] = True
    return test


def _ranked(names: Sequence[str], part: int, parts: int) -> np.ndarray:
    """One of the equal parts of each class, whose names are sorted by their hashes."""
    order = sorted(range(len(names)), key=lambda i: (names[i].split("/")[0], _hash(names[i])))
    place, size = _places([names[index] for index in order])
    test = np.empty(len(names), bool)
    test[order] = place * parts // size == part
    return test


def _hashed(names: Sequence[str], part: int, parts: int) -> np.ndarray:
    """The names whose hash, as a fraction of the largest one, is in one of the equal parts."""
    return np.array([int(_hash(name)[:16], 16) * parts >> 64 == part for name in names], bool)


def _places(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Place of each name in its class, and size of the class; names are sorted by class."""
    classes = np.array([name.split("/")[0] for name in names])
    _, first, index, counts = np.unique(
        classes, return_index=True, return_inverse=True, return_counts=True
    )
    return np.arange(len(names)) - first[index], counts[index]


def _make_schemes() -> tuple[SplitScheme, ...]:
    every, cifar10_dvs = NAMES, ("CIFAR10DVS",)
    return (
        SplitScheme(
            "spikingjelly",
            "the last tenth of each class by name (as text): split_to_train_test_set(0.9, ...) of"
            " SpikingJelly, and the code of the LM-HT paper",
            every,
            _by_name,
        ),
        SplitScheme(
            "tebn",
            "numbers 0 to 99 of each class: CIFAR10DVSTEBNSplit of SpikingJelly, from Duan et al."
            " 2022",
            cifar10_dvs,
            _first_hundred,
        ),
        SplitScheme(
            "lmht-seed-1029",
            "1,000 recordings of any class: random_split of PyTorch with seed 1029, a variant in"
            " the code of the LM-HT paper",
            cifar10_dvs,
            partial(_drawn, seed=1029),
        ),
        SplitScheme(
            "random-9-1",
            "a tenth of each class, drawn by the hash of the name",
            every,
            partial(_ranked, part=0, parts=10),
        ),
        *(
            SplitScheme(
                f"fold-{part + 1}-of-{FOLDS}",
                f"fold {part + 1} of {FOLDS} of each class, dealt by the hash of the name",
                every,
                partial(_ranked, part=part, parts=FOLDS),
            )
            for part in range(FOLDS)
        ),
        SplitScheme(
            "hash-9-1",
            "about a tenth of any recordings: each is drawn by its own hash",
            (),
            partial(_hashed, part=0, parts=10),
        ),
        *(
            SplitScheme(
                f"hash-fold-{part + 1}-of-{FOLDS}",
                f"fold {part + 1} of {FOLDS} folds of about equal size, of any recordings, by their"
                " hashes",
                (),
                partial(_hashed, part=part, parts=FOLDS),
            )
            for part in range(FOLDS)
        ),
    )


SCHEMES = {scheme.name: scheme for scheme in _make_schemes()}


def find_scheme(name: str) -> SplitScheme:
    """Return the scheme called `name`; DataError if there is none."""
    if not isinstance(name, str) or name not in SCHEMES:
        raise DataError(unknown("split scheme", name, SCHEMES))
    return SCHEMES[name]


def schemes_for(data: str) -> tuple[SplitScheme, ...]:
    """List the schemes of a data set with a catalog; those of any recordings for other names."""
    return tuple(s for s in SCHEMES.values() if not s.data or data in s.data)


# ------------------------------------------------------------------------------------------ splits


@cache
def complete_split(scheme: SplitScheme, data: str) -> Mapping[str, str]:
    """Return the split of each recording of a complete data set with a catalog, by its name.

    Raises:
        DataError: The digest is not the published one.
    """
    names = catalog(data).names
    splits = dict(zip(names, _as_splits(scheme.test(names)), strict=True))
    if (found := digest(splits)) != DIGESTS[data][scheme.name]:
        raise DataError(
            f"split scheme {scheme.name!r}: its list for {catalog(data).title} has the digest"
            f" {found}, not {DIGESTS[data][scheme.name]}; the installation is damaged"
        )
    return splits


def split_list(data: str, scheme: str) -> dict[str, str]:
    """Return the split of every recording of a data set by a scheme; the files are not needed.

    Args:
        data: "tonic:CIFAR10DVS" or "tonic:NCALTECH101".
        scheme: Name of the scheme.

    Returns:
        "train" or "test" by the path of each recording below the folder of the data set as Tonic
        saves it, with "/".

    Raises:
        DataError: There is no such scheme, or it has no list for this data set.

    Example:
        >>> split_list("tonic:CIFAR10DVS", "tebn")["airplane/cifar10_airplane_99.aedat4"]
        'test'
    """
    found, name = find_scheme(scheme), data.removeprefix("tonic:")
    if not found.knows(data):
        have = listed([f"tonic:{known}" for known in found.data] or ["no data set"])
        raise DataError(f"split scheme {scheme!r} has a list of files for {have}, not for {data!r}")
    known, splits = catalog(name), complete_split(found, name)
    return {f"{known.folder}{path}{known.suffix}": splits[path] for path in known.names}


def split_by_scheme(name: str, recordings: Sequence[str]) -> SchemeSplit:
    """Divide recordings by a scheme.

    Args:
        name: Name of the scheme.
        recordings: Paths of the recordings below the folder of the data set. For a scheme by hash,
            also groups of recordings; equal names have equal splits.

    Raises:
        DataError: There is no such scheme, or it does not know the recordings.
    """
    scheme = find_scheme(name)
    names = [plain_name(recording) for recording in recordings]
    if not scheme.data:
        splits = _as_splits(scheme.test(names))
        found = dict(zip(names, splits, strict=True))
        return _describe(scheme, splits, found, None)
    names = ["/".join(name.split("/")[-2:]) for name in names]
    data = _find_data(scheme, names)
    complete = complete_split(scheme, data)
    found = {name: complete[name] for name in names}
    return _describe(scheme, [found[name] for name in names], found, catalog(data))


def _as_splits(test: np.ndarray) -> list[str]:
    return ["test" if tests else "train" for tests in test.tolist()]


def _find_data(scheme: SplitScheme, names: Sequence[str]) -> str:
    """Name of the data set with a catalog that has all `names`."""
    others = {data: sorted(set(names).difference(catalog(data).names)) for data in scheme.data}
    best = min(others, key=lambda data: len(others[data]))
    if not others[best]:
        return best
    known = listed(catalog(data).title for data in scheme.data)
    raise DataError(
        f"split scheme {scheme.name!r} is for {known}, which has no recording {others[best][0]!r};"
        " other schemes are for any recordings: hash-9-1, hash-fold-1-of-5"
    )


def _describe(
    scheme: SplitScheme,
    splits: Iterable[str],
    found: Mapping[str, str],
    known: Catalog | None,
) -> SchemeSplit:
    whole = None if known is None else len(found) == len(known.names)
    text = digest(found)
    if known is None:
        what = f"{len(found):,} names"
    elif whole:
        what = f"the complete {known.title}"
    else:
        what = f"{len(found):,} of the {len(known.names):,} recordings of {known.title}"
    return SchemeSplit(
        tuple(splits),
        {"split_scheme": scheme.name, "split_digest": text, "split_complete": whole},
        (f"split scheme {scheme.name!r}: {what}, digest {text[:12]}",),
    )
