"""Reading a manifest: what it means, and every way in which it can be wrong."""

from __future__ import annotations

import pytest

from kronos_pretrain.corpus_build import read_manifest


def test_an_entry_with_everything(tiff, manifest) -> None:
    tiff("a.ome.tif", ["DAPI", "CD3", "CD8"])
    path = manifest(
        'path = "a.ome.tif"\nsubset = "lung · CODEX"\nchannels = { CD8 = false, CD3 = "unseen" }\n'
        'exclude = { CD3 = "blurred" }\nmax_value = 4095',
        rest='[channels]\n"AF 1" = ""\n[[exclude]]\nmarker = "CD20"\nsubset = "lung · CODEX"\nreason = "leaks"',
    )
    checked = read_manifest(path)
    entry = checked.images[0]
    assert (entry.name, entry.subset, entry.max_value) == ("a", "lung · CODEX", 4095.0)
    assert entry.channels == {"CD8": None, "CD3": "unseen"}
    assert entry.exclude == {"CD3": "blurred"}
    assert checked.channels == {"AF 1": None}
    assert (checked.exclusions[0].marker, checked.exclusions[0].reason) == ("CD20", "leaks")
    assert (checked.settings.patch, checked.settings.stride) == (64, 32)


def test_the_defaults_are_the_paper(tiff, tmp_path) -> None:
    tiff("a.tif", ["DAPI"])
    (tmp_path / "m.toml").write_text('[[image]]\npath = "a.tif"\nsubset = "s"\nexclude = ["CD3"]')
    checked = read_manifest(tmp_path / "m.toml")
    assert (checked.settings.patch, checked.settings.stride, checked.settings.format) == (256, 128, "zarr")
    assert checked.images[0].exclude == {"CD3": ""}


def test_a_pattern_stands_for_many_images(tiff, manifest, tmp_path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    for name in ("x/core.ome.tif", "y/core.ome.tif", "y/other.ome.tif"):
        tiff(name, ["DAPI"])
    checked = read_manifest(manifest('path = "*/*.ome.tif"\nsubset = "s"'))
    assert [entry.name for entry in checked.images] == ["x-core", "y-core", "other"]
    assert {entry.subset for entry in checked.images} == {"s"}


def test_paths_can_start_at_a_folder_of_the_environment(tiff, manifest, tmp_path, monkeypatch) -> None:
    (tmp_path / "data").mkdir()
    tiff("data/a.tif", ["DAPI"])
    path = manifest('path = "a.tif"\nsubset = "s"', settings='root = "$IMAGES_OF_TEST"')
    with pytest.raises(FileNotFoundError, match="variable of the environment is not set"):
        read_manifest(path)
    monkeypatch.setenv("IMAGES_OF_TEST", str(tmp_path / "data"))
    assert read_manifest(path).images[0].path == tmp_path / "data" / "a.tif"


GOOD = 'path = "a.tif"\nsubset = "s"'


@pytest.mark.parametrize(
    ("image", "settings", "rest", "error", "message"),
    [
        (GOOD + '\nchanels = { CD3 = "CD3" }', "", "", KeyError, "has no key 'chanels'.*Did you mean 'channels'"),
        (GOOD, "pach = 3", "", KeyError, "has no key 'pach'.*Did you mean 'patch'"),
        (GOOD, "", "[chanels]\na = 'b'", KeyError, "no section 'chanels'.*Did you mean 'channels'"),
        (
            GOOD + '\nmax_value = "4095"',
            "",
            "",
            TypeError,
            "max_value of corpus.toml .* is '4095'; it must be a number",
        ),
        (GOOD + "\nchannels = { CD3 = 4 }", "", "", TypeError, "must be a table of channel = marker"),
        (GOOD + "\nmax_value = -1", "", "", ValueError, "must be above 0"),
        ('path = "a.tif"', "", "", ValueError, r"\[\[image\]\] number 1 lacks 'subset'"),
        ('path = "b.tif"\nsubset = "s"', "", "", FileNotFoundError, "no such file or folder"),
        ('path = "b*.tif"\nsubset = "s"', "", "", FileNotFoundError, "finds nothing"),
        (GOOD + '\nnan = "skip"', "", "", ValueError, "'error', 'zero'"),
        (GOOD + "\n[[image]]\n" + GOOD, "", "", ValueError, "more than once"),
        (
            GOOD + '\nname = "one"\n[[image]]\npath = "c.tif"\nsubset = "s"\nname = "one"',
            "",
            "",
            ValueError,
            "several images are called 'one'",
        ),
        ('path = "*.tif"\nsubset = "s"\nname = "one"', "", "", ValueError, "stands for the 2 images"),
        (GOOD, "", '[quality]\ndrop = ["ugly"]', ValueError, "'ugly' is not a choice"),
        (GOOD, "blur = 3.0", "", ValueError, "blur=3.0 of .* is no share"),
        (GOOD, "", "[exclude]\nmarker = 'CD3'", TypeError, r"Write \[\[exclude\]\]"),
        (GOOD, "", "[[exclude]]\nreason = 'CD3'", ValueError, "lacks 'marker'"),
        (GOOD, "", "this is not TOML", ValueError, "is no TOML file"),
    ],
)
def test_what_is_wrong_is_named(tiff, manifest, image, settings, rest, error, message) -> None:
    tiff("a.tif", ["DAPI"])
    tiff("c.tif", ["DAPI"])
    with pytest.raises(error, match=message):
        read_manifest(manifest(image, settings=settings, rest=rest))


@pytest.mark.row(
    "manifest: unknown key or section, wrong type, value out of range", "two images of one name, one image listed twice"
)
@pytest.mark.parametrize(
    ("image", "settings", "says", "then"),
    [
        (GOOD + '\nchanels = { CD3 = "CD8" }', "", "Did you mean 'channels'", ("chanels", "channels")),
        (GOOD, "strid = 64", "Did you mean 'stride'", ("stride = 32\n", "")),
        (GOOD + '\nmax_value = "4095"', "", "it must be a number", ('"4095"', "4095")),
        (GOOD + "\nmax_value = -1", "", "Leave it out", ("max_value = -1", "")),
        ('path = "a.tif"', "", "Add subset = to it", ('path = "a.tif"', GOOD)),
        ('path = "b.tif"\nsubset = "s"', "", "Correct the path", ("b.tif", "a.tif")),
        (GOOD + '\nnan = "skip"', "", "can be 'error', 'zero'", ("skip", "zero")),
        (GOOD + "\n[[image]]\n" + GOOD, "", "Remove one of them", ("[[image]]\n" + GOOD + "\n[[image]]", "[[image]]")),
        ('path = "*.tif"\nsubset = "s"\nname = "one"', "", "Leave name out", ('name = "one"', "")),
    ],
)
def test_the_manifest_is_corrected(tiff, manifest, image, settings, says, then) -> None:
    tiff("a.tif", ["DAPI", "CD3"])
    tiff("c.tif", ["DAPI", "CD3"])
    path = manifest(image, settings=settings)
    with pytest.raises((KeyError, TypeError, ValueError, FileNotFoundError)) as error:
        read_manifest(path)
    assert says in str(error.value)
    path.write_text(path.read_text().replace(*then).replace("strid =", "stride ="))
    read_manifest(path)


@pytest.mark.parametrize(
    ("patch", "stride", "message"), [(256, 100, "power of two"), (192, 128, "no multiple"), (64, 128, "no multiple")]
)
def test_the_grid_fits_the_chunks(tiff, tmp_path, patch, stride, message) -> None:
    tiff("a.tif", ["DAPI"])
    (tmp_path / "m.toml").write_text(f"[corpus]\npatch = {patch}\nstride = {stride}\n[[image]]\n{GOOD}")
    with pytest.raises(ValueError, match=message):
        read_manifest(tmp_path / "m.toml")


def test_no_image_and_no_manifest(tmp_path) -> None:
    (tmp_path / "m.toml").write_text("")
    with pytest.raises(ValueError, match="lists no image"):
        read_manifest(tmp_path / "m.toml")
    with pytest.raises(FileNotFoundError, match="Write one"):
        read_manifest(tmp_path / "n.toml")
