"""The image data sets that are known by name."""

from __future__ import annotations

from dataclasses import dataclass

PACKAGES = ("datasets", "PIL")
"""Import names of the packages that reading images from the hub needs."""


@dataclass(frozen=True)
class ImageSet:
    """An image data set of the Hugging Face hub.

    Attributes:
        hub: Name on the hub.
        classes: Number of classes.
        size: Height and width of the images; 0 if they differ. Such images are decoded on access.
        image: Column of the images.
        label: Column of the labels.
        test: Name of the test split on the hub.
    """

    hub: str
    classes: int
    size: int
    image: str = "image"
    label: str = "label"
    test: str = "test"


SETS = {
    "cifar10": ImageSet("uoft-cs/cifar10", 10, 32, image="img"),
    "cifar100": ImageSet("uoft-cs/cifar100", 100, 32, image="img", label="fine_label"),
    "tiny-imagenet": ImageSet("zh-plus/tiny-imagenet", 200, 64, test="valid"),  # ImageNet-200
    "imagenet": ImageSet("ILSVRC/imagenet-1k", 1000, 0, test="validation"),
}
