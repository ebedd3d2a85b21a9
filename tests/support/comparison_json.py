"""The JSON of a comparison as docs/reference/compare-json.md describes it, with chosen figures."""

from __future__ import annotations

from typing import Any

import numpy as np

CLASSES = ["mug", "pen"]
DIFFERENCE = {
    "kind": "spikes",
    "layer": "a",
    "window": 3,
    "step": 1,
    "neuron": [0, 1, 1],
    "found": 2,
    "expected": 1,
    "differing": 4,
    "windows": 40,
    "text": "spikes of layer 'a' differ: window 3 has 2, expected 1",
}


def comparison(*names: str, classes: list[str] | None = None, **changes: Any) -> dict[str, Any]:
    """A comparison of networks called `names` ("net" by default), with fields replaced."""
    found = [
        network(name, place, classes or CLASSES) for place, name in enumerate(names or ("net",))
    ]
    return {
        "schema": "lmht-compare",
        "version": 1,
        "equal": True,
        "provenance": {
            "created": "2026-11-28T12:00:00+00:00",
            "lmht_deploy": "0.1.0",
            "python": "3.11.2",
            "packages": {"numpy": "2.4.6"},
            "system": "Linux",
            "cpu": "a CPU",
            "cpus": 2,
            "isa": "avx2",
            "memory_bytes": 8e9,
            "threads": 1,
        },
        "data": {
            "provenance": {"data": "mugs", "split": "test"},
            "windows": 40,
            "window_shape": [2, 2, 4, 4],
            "labels": [0, 1] * 20,
            "classes": classes or CLASSES,
            "sources": ["first.aedat4", "second.aedat4"],
            "source_index": [0, 1] * 20,
            "start_us": [0] * 40,
        },
        "energy_models": [
            model("45nm", "graded", leaves_out=["The memory.", "The updates of the neurons."]),
            model("loihi1", "single_threshold"),
            model("int8 twin", "dense"),
        ],
        "energy_model": "45nm",
        "twin": {"accuracy": None, "source": ""},
        "networks": found,
        "pairs": [pair(a, b) for i, a in enumerate(names) for b in names[i + 1 :]],
    } | changes


def model(name: str, view: str, leaves_out: list[str] | None = None) -> dict[str, Any]:
    """An energy model."""
    return {
        "name": name,
        "title": f"title of {name}",
        "source": f"source of {name}",
        "url": "https://example.org/a",
        "view": view,
        "picojoules": {"sop": 0.9},
        "leaves_out": leaves_out or [],
    }


def pair(first: str, second: str) -> dict[str, Any]:
    """Two networks compared."""
    layer = {"layer": "a", "differing": 0.01, "mean_difference": -0.002, "rounding": 0.004}
    return {
        "first": first,
        "second": second,
        "windows": 40,
        "same_predictions": 38,
        "both_right": 36,
        "only_first": 2,
        "only_second": 1,
        "both_wrong": 1,
        "p_value": 0.5,
        "difference": None,
        "quantization": {
            "windows": 40,
            "layers": [layer | {"predictions": 0.975, "accuracy": 0.95}],
        },
    }


def network(name: str, place: int, classes: list[str]) -> dict[str, Any]:
    """A network that costs more and knows less the later it comes."""
    share, factor = 0.95 - 0.05 * place, 1 + place
    layers = [counts_of(layer, factor * spikes) for layer, spikes in (("a", 10.0), ("out", 0.0))]
    totals = ("neurons", "spikes", "events", "sops", "event_sops", "macs", "dense_macs", "updates")
    view = {"layers": layers, "total": {key: sum(layer[key] for layer in layers) for key in totals}}
    joules = view["total"]["sops"] * 0.9e-12
    return {
        "name": name,
        "path": f"{name}.lmht",
        "bytes": 12345,
        "sha256": "0" * 64,
        "kind": "integer",
        "metadata": {"recipe": "[network]"},
        "levels": 2,
        "steps": 2,
        "parameters": 100,
        "layers": [],
        "accuracy": share,
        "interval": [share - 0.1, share + 0.04],
        "correct": round(40 * share),
        "backends": [
            backend("reference", share, joules, 3.0),
            backend("event", share, joules, 0.2 * factor),
        ],
        "omitted": {"lava": "Lava's environment is not installed"},
        "counts": {"graded": view, "single_threshold": view},
        "others": [
            {
                "counter": "rate",
                "title": "rate × T × FLOPs",
                "definition": "mean rate times steps times dense operations",
                "operations": 120.0,
                "sops": view["total"]["sops"],
                "difference": 120.0 - view["total"]["sops"],
                "relative": 120.0 / view["total"]["sops"] - 1,
                "layers": {"a": 120.0},
            }
        ],
        "neurobench": {
            "Footprint": 500,
            "ParameterCount": 100,
            "ConnectionSparsity": 0.01,
            "ActivationSparsity": 0.7,
            "SynapticOperations": {"Effective_MACs": 70.0, "Effective_ACs": 0.0, "Dense": 1024.0},
            "ClassificationAccuracy": share,
            "single_threshold": {
                "ActivationSparsity": 0.8,
                "SynapticOperations": {
                    "Effective_MACs": 0.0,
                    "Effective_ACs": 110.0,
                    "Dense": 2048.0,
                },
            },
        },
        "energy": {
            "models": [
                energy("45nm", joules),
                energy("loihi1", 30 * joules),
                energy("int8 twin", 5 * joules),
            ],
            "lowest": joules,
            "highest": 30 * joules,
            "spread": 30.0,
        },
        "measured_energy": [
            {"meter": "RAPL", "reason": "this machine has no counter"},
            {
                "meter": "NVML",
                "source": "NVML a GPU",
                "backend": "torch",
                "joules": 2e-3,
                "joules_idle": 1e-3,
            },
        ],
        "classes": classes_of(classes, share),
        "anytime": [
            {
                "step": step,
                "accuracy": share - 0.1 * (2 - step),
                "interval": [share - 0.2, share + 0.02],
                "sops": view["total"]["sops"] * step / 2,
                "energy": {"45nm": joules * step / 2, "loihi1": joules * 15 * step},
            }
            for step in (1, 2)
        ],
        "predictions": [0] * 40,
        "margins": [1.0] * 40,
        "answers": [0] * 40,
        "samples": [sample(3, 1, 0, len(classes))],
    }


def backend(label: str, share: float, joules: float, ms: float) -> dict[str, Any]:
    """A backend that agrees."""
    return {
        "label": label,
        "windows": 40,
        "accuracy": share,
        "interval": [share - 0.1, share + 0.04],
        "spikes": 10.0,
        "sops": 110.0,
        "macs": 0,
        "energy": joules,
        "ms": ms,
        "difference": None,
        "speed": {
            "start_ms": 300.0,
            "open_ms": 2.0,
            "latency": {
                "windows": 100,
                "p50_ms": ms,
                "p90_ms": 1.3 * ms,
                "p99_ms": 2 * ms,
                "mean_ms": 1.1 * ms,
            },
            "throughput": {"windows_per_s": 1000 / ms},
            "threads": 1,
            "batch": 32,
            "tier": None,
            "versions": {},
            "peak_memory_bytes": 5e7,
            "artifact_bytes": 12345,
        },
    }


def counts_of(layer: str, spikes: float) -> dict[str, Any]:
    """Counts of a layer; one without spikes is the read-out."""
    return {
        "layer": layer,
        "neurons": 8 if spikes else 0,
        "steps": 2,
        "spikes": spikes,
        "events": 0.8 * spikes,
        "sops": 100.0 + spikes,
        "event_sops": 90.0 + spikes,
        "macs": 0,
        "dense_macs": 512,
        "updates": 16,
        "bytes": 2048.0,
        "firing_rate": spikes / 16,
        "density": spikes / 20,
        "per_step": {
            "spikes": [0.4 * spikes, 0.6 * spikes],
            "events": [0.3 * spikes, 0.5 * spikes],
            "sops": [50.0, 50.0 + spikes],
            "event_sops": [45.0, 45.0 + spikes],
        },
        "per_class": None,
    }


def energy(name: str, joules: float) -> dict[str, Any]:
    """The estimate of a model."""
    return {
        "model": name,
        "joules": joules,
        "interval": [0.8 * joules, 1.3 * joules],
        "parts": {"sop": joules},
        "layers": {"a": 0.7 * joules, "out": 0.3 * joules},
    }


def classes_of(names: list[str], share: float) -> dict[str, Any]:
    """Scores by class: each class has 20 windows."""
    number = len(names)
    right = round(20 * share)
    confusion = np.diag([right] * number)
    confusion[np.arange(number), (np.arange(number) + 1) % number] += 20 - right
    return {
        "confusion": confusion.tolist(),
        "unknown": [0] * number,
        "per_class": [
            {
                "class": index,
                "name": name,
                "windows": 20,
                "correct": right,
                "accuracy": right / 20,
                "interval": [right / 20 - 0.1, right / 20],
            }
            for index, name in enumerate(names)
        ],
        "worst": [{"window": 3, "label": 1, "predicted": 0, "margin": -0.75}],
    }


def sample(window: int, label: int, predicted: int, classes: int) -> dict[str, Any]:
    """A window of two frames and the spikes of one layer."""
    logits = [[0.1 * index for index in range(classes)], [0.5] + [0.0] * (classes - 1)]
    return {
        "window": window,
        "label": label,
        "predicted": predicted,
        "logits": logits,
        "input": {
            "shape": [2, 4, 4],
            "steps": 2,
            "step": [0, 0, 1],
            "neuron": [0, 17, 31],
            "value": [1, 2, 1],
        },
        "layers": {
            "a": {
                "shape": [8],
                "steps": 2,
                "step": [0, 1, 1],
                "neuron": [0, 3, 7],
                "value": [1, 2, 1],
            }
        },
    }
