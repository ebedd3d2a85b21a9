"""The names of all recordings of data sets that have no splits of their own.

A name is the class and the name of the file without its suffix, which differs between tools:
"airplane/cifar10_airplane_0" is an `.aedat` file as published, `.aedat4` as Tonic saves it, and
`.npz` as SpikingJelly does. Names are sorted by class, then as text, so that "..._10" comes before
"..._2": the order in which `torchvision.datasets.DatasetFolder` lists the files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from .cifar10dvs import CLASSES

CIFAR10_DVS_RECORDINGS = 1000
"""Recordings per class."""

N_CALTECH101 = """
accordion 55 airplanes 800 anchor 42 ant 42 BACKGROUND_Google 467 barrel 47 bass 54 beaver 46
binocular 33 bonsai 128 brain 98 brontosaurus 43 buddha 85 butterfly 91 camera 50 cannon 43
car_side 123 ceiling_fan 47 cellphone 59 chair 62 chandelier 107 cougar_body 47 cougar_face 69
crab 73 crayfish 70 crocodile 50 crocodile_head 51 cup 57 dalmatian 67 dollar_bill 52 dolphin 65
dragonfly 68 electric_guitar 75 elephant 64 emu 53 euphonium 64 ewer 85 Faces_easy 435 ferry 67
flamingo 67 flamingo_head 45 garfield 34 gerenuk 34 gramophone 51 grand_piano 99 hawksbill 100
headphone 42 hedgehog 54 helicopter 88 ibis 80 inline_skate 31 joshua_tree 64 kangaroo 86 ketch 114
lamp 61 laptop 81 Leopards 200 llama 78 lobster 41 lotus 66 mandolin 43 mayfly 40 menorah 87
metronome 32 minaret 76 Motorbikes 798 nautilus 55 octopus 35 okapi 39 pagoda 47 panda 38 pigeon 45
pizza 53 platypus 34 pyramid 57 revolver 82 rhino 59 rooster 49 saxophone 40 schooner 63 scissors 39
scorpion 84 sea_horse 57 snoopy 35 soccer_ball 64 stapler 45 starfish 86 stegosaurus 59
stop_sign 64 strawberry 35 sunflower 85 tick 49 trilobite 86 umbrella 75 watch 239 water_lilly 37
wheelchair 59 wild_cat 34 windsor_chair 56 wrench 39 yin_yang 60
"""
"""Classes and numbers of recordings: the images of Caltech101 without the class Faces. They add up
to the 8,709 recordings of the data set. The list was not compared with the data set itself."""


@dataclass(frozen=True)
class Catalog:
    """All recordings of a data set.

    Attributes:
        title: Name of the data set.
        names: Names of the recordings, sorted.
        suffix: Suffix of the files as Tonic saves them.
        folder: Folder of the classes as Tonic saves them, below the folder of the data set.
    """

    title: str
    names: tuple[str, ...]
    suffix: str
    folder: str = ""


NAMES = ("CIFAR10DVS", "NCALTECH101")
"""Data sets with a catalog, by the name of their class in Tonic."""


@cache
def catalog(data: str) -> Catalog:
    """Return the catalog of the data set `data`, one of `NAMES`."""
    return _cifar10_dvs() if data == "CIFAR10DVS" else _n_caltech101()


def _cifar10_dvs() -> Catalog:
    names = (
        f"{name}/cifar10_{name}_{number}"
        for name in CLASSES
        for number in range(CIFAR10_DVS_RECORDINGS)
    )
    return Catalog("CIFAR10-DVS", _sort(names), ".aedat4")


def _n_caltech101() -> Catalog:
    words = N_CALTECH101.split()
    names = (
        f"{name}/image_{number:04}"
        for name, count in zip(words[::2], map(int, words[1::2]), strict=True)
        for number in range(1, count + 1)
    )
    return Catalog("N-Caltech101", _sort(names), ".bin", "Caltech101/")


def _sort(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda name: name.split("/")))
