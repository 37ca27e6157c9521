"""Batches of augmented crops, made by threads ahead of the training step.

Which people a batch holds and how they are augmented depends on (seed, step, rank) alone, so a
resumed run sees exactly what an uninterrupted one would have. OpenCV lets go of Python's lock,
so threads suffice beside a CPU's training steps, and they share one cache of decoded pictures. A
GPU takes thousands of crops a second: there processes make them (torch's DataLoader).
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from livepose.training.augment import PAINTED, Augmentation, Image, Joints, random_crop
from livepose.training.datasets import Person, Picture, PoseSet
from livepose.training.readers_synthetic import DrawnImage

CACHE_BYTES = 8 << 30
"""For one machine; each of several processes takes its part."""


@dataclass
class ImageCache:
    """Decoded pictures up to a number of bytes; beyond it pictures are decoded every time."""

    limit_bytes: int = CACHE_BYTES
    _images: dict[Picture, Image] = field(default_factory=dict)
    _bytes: int = 0
    _lock: Lock = field(default_factory=Lock)

    def load(self, ref: Picture) -> Image:
        image = self._images.get(ref)
        if image is None:
            image = ref.load()
            with self._lock:
                if ref not in self._images and self._bytes + image.nbytes <= self.limit_bytes:
                    self._images[ref] = image
                    self._bytes += image.nbytes
        return image


@dataclass(frozen=True)
class Mixture:
    """Sets of people and the share of a batch that each is drawn for."""

    sets: Sequence[PoseSet]
    weights: Sequence[float]

    def draw(self, rng: np.random.Generator) -> Person:
        """A person of a set that is drawn by weight."""
        shares = np.asarray(self.weights, float)
        chosen = self.sets[int(rng.choice(len(self.sets), p=shares / shares.sum()))]
        return chosen.people[int(rng.integers(len(chosen.people)))]


def boxes_by_picture(sets: Sequence[PoseSet]) -> dict[Picture, Joints]:
    """Boxes float32 [N, 4] of all who are labelled in a picture."""
    boxes: dict[Picture, list[Joints]] = {}
    for person in (person for each in sets for person in each.people):
        boxes.setdefault(person.image, []).append(person.box_xyxy)
    return {picture: np.stack(theirs) for picture, theirs in boxes.items()}


Batch = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]


class BatchLoader:
    """Iterates over (crops uint8 [B, S, S, 3] RGB, joints float32 [B, 16, 3] in crop pixels), the
    joints' states as `random_crop` gives them; all are `PAINTED` in drawn pictures.

    drawn: the augmentation of drawn pictures, if it is another.
    forked: by processes instead of threads; pictures that are in the cache before are shared.
    """

    def __init__(
        self,
        mixture: Mixture,
        batch: int,
        size: int,
        augmentation: Augmentation,
        seed: int,
        rank: int = 0,
        workers: int = 2,
        ahead: int = 4,
        forked: bool = False,
        drawn: Augmentation | None = None,
    ) -> None:
        self.mixture, self.batch, self.size = mixture, batch, size
        self.augmentation, self.seed, self.rank = augmentation, seed, rank
        self.drawn = drawn or augmentation
        self.workers, self.ahead, self.forked = workers, ahead, forked
        self._everybody = boxes_by_picture(mixture.sets)
        self.cache = ImageCache(CACHE_BYTES // int(os.environ.get("WORLD_SIZE", "1")))

    def make(self, step: int) -> Batch:
        """The batch of that step."""
        samples = [self._sample(step, i) for i in range(self.batch)]
        return np.stack([s[0] for s in samples]), np.stack([s[1] for s in samples])

    def _sample(self, step: int, i: int) -> tuple[Image, Joints]:
        rng = np.random.default_rng((self.seed, self.rank, step, i))
        person = self.mixture.draw(rng)
        image = self.cache.load(person.image)
        drawn = isinstance(person.image, DrawnImage)
        how = self.drawn if drawn else self.augmentation
        crop, joints = random_crop(
            *(image, person.joints, person.box_xyxy, self.size, rng, how),
            everybody=self._everybody[person.image],
        )
        if drawn:
            joints[joints[:, 2] > 0, 2] = PAINTED
        return crop, joints

    def steps(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of steps first, first + 1, ... last - 1, in order."""
        return (self._forked if self.forked else self._threaded)(first, last)

    def _threaded(self, first: int, last: int) -> Iterator[Batch]:
        with ThreadPoolExecutor(self.workers) as pool:
            waiting: list[Future[Batch]] = []
            following = iter(range(first, last))
            try:
                for step in following:
                    waiting.append(pool.submit(self.make, step))
                    if len(waiting) > self.ahead:
                        yield waiting.pop(0).result()
                while waiting:
                    yield waiting.pop(0).result()
            finally:
                for future in waiting:
                    future.cancel()

    def _forked(self, first: int, last: int) -> Iterator[Batch]:
        # OpenCV's own threads would not be there in a forked process: from here on it has none.
        cv2.setNumThreads(1)
        with ThreadPoolExecutor(self.workers) as pool:
            pictures = {p.image for s in self.mixture.sets for p in s.people}
            for _ in pool.map(self.cache.load, pictures):
                pass  # a picture that cannot be read is told here, in a line
        batches = DataLoader(
            _Steps(self),
            batch_size=None,
            sampler=range(first, last),
            num_workers=self.workers,
            pin_memory=torch.cuda.is_available(),
            multiprocessing_context="fork",
        )
        for crops, labels in batches:
            yield crops.numpy(), labels.numpy()


@dataclass(frozen=True)
class _Steps(Dataset[Batch]):
    """A loader's batches as torch's DataLoader asks for them."""

    loader: BatchLoader

    def __getitem__(self, step: int) -> Batch:
        return self.loader.make(step)
