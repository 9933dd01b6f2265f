"""Three-marker samples per second from disk.

Our loader with 0, 1, 2 workers, zarr-python on the same store, a memory-mapped .npy.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

import kronos_sc
from kronos_pretrain.config.schema import Config, Data, Optim
from kronos_pretrain.data.corpus import Corpus
from kronos_pretrain.data.loader import samples
from kronos_pretrain.data.sampler import Sampler
from kronos_sc.markers import paper_vocabulary

PATCH = 256
CHUNK = 128
SHARD = 2048
BATCH = 32
FLOOR = 300
MARKERS = ("DAPI", "CD3", "CD4", "CD8", "CD20", "CD68", "CD31", "KI-67")


def plane(side: int, rng: np.random.Generator) -> np.ndarray:
    """Return 16-bit content that compresses like a stained plane.

    Smooth signal, about half of the area dark, and shot noise.
    """
    from scipy.ndimage import gaussian_filter

    signal = gaussian_filter(rng.standard_normal((side, side), dtype=np.float32), 4)
    return rng.poisson(np.clip(signal / signal.std(), 0, None) * 900 + 40).astype(np.uint16)


def write(folder: Path, *, images: int, side: int, kind: str) -> Path:
    """Write a corpus in the layout of `corpus build`, the same pixels for each `kind`; return its folder."""
    import zarr

    rng = np.random.default_rng(0)
    known = paper_vocabulary(mean=0.005, std=0.01)
    corners = np.arange(0, side - PATCH + 1, PATCH // 2, dtype=np.int32)
    origins = np.stack(np.meshgrid(corners, corners, indexing="ij"), -1).reshape(-1, 2)
    markers = [{"channel": n, "marker": n, "id": known[n].id, "plane": i} for i, n in enumerate(MARKERS)]
    rows = []
    for number in range(images):
        home = folder / kind / f"images/{number:04}"
        home.mkdir(parents=True)
        pixels = np.stack([plane(side, rng) for _ in MARKERS])
        if kind == "npy":
            np.save(home / "pixels.npy", pixels)
        else:
            shards = (1, min(SHARD, side), min(SHARD, side))
            codec = zarr.codecs.ZstdCodec(level=3, checksum=True)
            layout = {
                "shape": pixels.shape,
                "dtype": pixels.dtype,
                "chunks": (1, CHUNK, CHUNK),
                "shards": shards,
                "compressors": codec,
            }
            zarr.create_array(home / "pixels.zarr", fill_value=0, zarr_format=3, **layout)[:] = pixels
        np.save(home / "origins.npy", origins)
        image_record = {
            "name": str(number),
            "subset": f"subset {number % 2}",
            "folder": f"images/{number:04}",
            "pixels": f"pixels.{kind}",
        }
        rows.append(
            image_record
            | {"shape": [side, side], "dtype": "uint16", "scale": 65535.0, "markers": markers, "origins": len(origins)}
        )
    record = {
        "format": "kronos-corpus/1",
        "patch": PATCH,
        "stride": PATCH // 2,
        "vocabulary": known.to_dict(),
        "images": rows,
    }
    (folder / kind / "corpus.json").write_text(json.dumps(record))
    return folder / kind


def ours(folder: Path, *, workers: int, seconds: float) -> float:
    """Return samples per second of the loader, started and warm."""
    config = Config(data=Data(corpus=str(folder), workers=workers), optim=Optim(batch=BATCH))
    with samples(Corpus.open(folder), config) as batches:
        for _ in range(2 * max(workers, 1)):
            next(batches)
        count = 0
        started = time.perf_counter()
        while time.perf_counter() - started < seconds:
            count += len(next(batches).index)
        return count / (time.perf_counter() - started)


def theirs(folder: Path, *, seconds: float) -> float:
    """Return the same patches per second through zarr-python, raw."""
    import zarr

    corpus = Corpus.open(folder)
    sampler = Sampler(corpus, Data(), seed=0)
    arrays = [zarr.open_array(path, mode="r") for path in sorted(folder.glob("images/*/pixels.zarr"))]
    count = 0
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        drawn = sampler.draw(0, count)
        inside = slice(drawn.row, drawn.row + PATCH), slice(drawn.column, drawn.column + PATCH)
        np.stack(
            [arrays[drawn.image][(int(plane), *inside)] for plane in drawn.planes[0]]
        )  # three times faster than .oindex
        count += 1
    return count / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--seconds", type=float, default=6)
    options = parser.parse_args()
    kronos_sc.settings.progress = False
    kronos_sc.settings.verbosity = 1
    with tempfile.TemporaryDirectory() as temporary:
        stores = {
            kind: write(Path(temporary), images=options.images, side=options.side, kind=kind)
            for kind in ("zarr", "npy")
        }
        sizes = {
            kind: sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 2**20
            for kind, folder in stores.items()
        }
        print(
            f"{options.images} images of {options.side} px × {len(MARKERS)} markers, uint16; {os.cpu_count()} cores; "
            "in the file cache"
        )
        print(
            f"on disk: zarr {sizes['zarr']:.0f} MiB, npy {sizes['npy']:.0f} MiB; batches of {BATCH} × 3 markers × "
            f"{PATCH} px, normalised"
        )
        rates = {}
        for kind, folder in stores.items():
            for workers in (0, 1, 2):
                rates[kind, workers] = ours(folder, workers=workers, seconds=options.seconds)
                print(f"loader, {kind}, workers {workers}: {rates[kind, workers]:,.0f} samples/s")
        plain = theirs(stores["zarr"], seconds=options.seconds)
        print(f"zarr-python, the same patches, raw, one after the other: {plain:,.0f} samples/s")
        best = max(rates["zarr", workers] for workers in (0, 1, 2))
        print(
            f"best {best:,.0f}/s: {best / FLOOR:.1f} × the floor of {FLOOR}/s; {rates['zarr', 0] / plain:.1f} × "
            "zarr-python with no worker"
        )


if __name__ == "__main__":
    main()
