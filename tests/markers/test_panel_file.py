"""Panel files as instruments, pipelines and spreadsheets write them → names in the order of the planes."""

from __future__ import annotations

import json

import pytest

from kronos_sc.markers import recognise
from kronos_sc.markers._distinct import numbered
from kronos_sc.markers._panel_file import read_channel_names, read_panel

THREE = ["DAPI", "CD3", "CD8"]


def written(folder, content, name="panel.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("marker,dilution\nDAPI,5 µg\nCD3,1:100\nCD8,1:50\n".encode("cp1252"), id="cp1252"),
        pytest.param("marker\tcycle\nDAPI\t1\nCD3\t1\nCD8\t2\n".encode("utf-16"), id="UTF-16"),
        pytest.param("marker;cycle\nDAPI;1\nCD3;1\nCD8;2\n".encode("utf-16-le"), id="UTF-16 without a mark"),
        pytest.param("marker;cycle\nDAPI;1\nCD3;1\nCD8;2\n".encode("utf-16-be"), id="UTF-16, big end first"),
        pytest.param("\ufeffmarker\nDAPI\nCD3\nCD8\n", id="mark of UTF-8"),
        pytest.param("sep=;\nmarker;cycle\nDAPI;1\nCD3;1\nCD8;2\n", id="sep="),
        pytest.param("marker|cycle\nDAPI|1\nCD3|1\nCD8|2\n", id="bars"),
        pytest.param("cycle,marker\r1,DAPI\r1,CD3\r2,CD8\r", id="line ends of old Macs"),
        pytest.param("cycle,marker,\r\n1,DAPI,\r\n1,CD3,\r\n2,CD8,\r\n,,\r\n", id="comma at the end of each line"),
        pytest.param(
            "marker,bleached_before\nDAPI,CD3,\nCD3,CD20,\nCD8,CD68,\n",
            id="comma at the end of all lines but the first",
        ),
        pytest.param('marker,note\nDAPI,"two\nlines"\n"CD3 ",x\n CD8,\n', id="line end in quotes"),
        pytest.param(
            "# panel of March\n#  by us\nmarker,clone\nDAPI,\n# not used: CD4,x\nCD3,a\nCD8,b\n", id="remarks"
        ),
        pytest.param("#channel,marker\n1,DAPI\n2,CD3\n3,CD8\n", id="header marked as a remark"),
        pytest.param(
            "Panel of the breast study\n\nno,Marker Name\n1,DAPI\n2,CD3\n3,CD8\n", id="title above the header"
        ),
        pytest.param('"marker","cycle"\n"1","DAPI",1\n"2","CD3",1\n"3","CD8",2\n', id="row names of R"),
        pytest.param('"","marker"\n"1","DAPI"\n"2","CD3"\n"3","CD8"\n', id="column of row names"),
        pytest.param("1\tDAPI\n2\tCD3\n3\tCD8\n", id="numbers and names, no header"),
        pytest.param("DAPI, CD3, CD8", id="all in one line"),
        pytest.param("DAPI,TRUE\nCD3,TRUE\nCD8,FALSE\n", id="names and verdicts, no header"),
        pytest.param("1. DAPI\n2. CD3\n3. CD8\n", id="numbered list"),
        pytest.param("Channel 0: DAPI\nChannel 1: CD3\nChannel 2: CD8\n", id="numbered channels"),
        pytest.param("DAPI\nCD3\nCD8", id="one per line"),
        pytest.param("channel,name\n0,DAPI\n1,CD3\n2,CD8\n", id="two columns whose names read as one"),
        pytest.param(
            "Channel ID,Channel Name,Target Name\nChannel:0:0,ch1,DAPI\nChannel:0:1,ch2,CD3\nChannel:0:2,ch3,CD8\n",
            id="HTAN",
        ),
        pytest.param(
            json.dumps({"version": "1.7", "channelNames": {"channelNamesArray": THREE}}), id="experiment.json"
        ),
        pytest.param(
            json.dumps({"name": "x", "channels": [{"name": one, "exposure": 5} for one in THREE]}), id="objects in JSON"
        ),
        pytest.param(json.dumps(THREE), id="list in JSON"),
    ],
)
def test_every_program_s_files(tmp_path, content):
    assert read_channel_names(written(tmp_path, content)) == THREE


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("channel_number,marker\n2,CD3\n3,CD8\n1,DAPI\n", id="from 1"),
        pytest.param(
            "Channel,Name,Cycle,ChannelIndex\n2,CD8,1,0\n0,DAPI,0,0\n1,CD3,0,1\n",
            id="from 0, beside a number within cycles",
        ),
        pytest.param(
            "marker,channel_number,remove\nCD8,3,\nbleached,,TRUE\nCD3,2,\nDAPI,1,\n", id="rows left out have none"
        ),
        pytest.param("cycle,channel_number,marker\n2,1,CD8\n1,2,CD3\n1,1,DAPI\n", id="within cycles"),
        pytest.param("antibody_name\tchannel_id\nCD8\tCycle2_CH1\nDAPI\tCycle1_CH1\nCD3\tCycle1_CH3\n", id="HuBMAP"),
        pytest.param("channel,marker\nch03,CD8\nch01,DAPI\nch02,CD3\n", id="number in a word"),
        pytest.param("3,CD8\n1,DAPI\n2,CD3\n", id="no header"),
    ],
)
def test_rows_follow_their_channel_numbers(tmp_path, content):
    assert read_channel_names(written(tmp_path, content)) == THREE


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("channel_number,marker\n1,DAPI\n5,CD3\n9,CD8\n", id="gaps, in order"),
        pytest.param("channel_number,marker\n1,DAPI\n2,CD3\n1,CD8\n", id="starts over in each cycle"),
        pytest.param("no,marker\n7,DAPI\n3,CD3\n5,CD8\n", id="number of the antibody"),
        pytest.param("channel,name,keep\nIr191,DAPI,1\nEr170,CD3,1\nNd146,CD8,1\n", id="metals"),
    ],
)
def test_order_of_rows_stands(tmp_path, content):
    assert read_channel_names(written(tmp_path, content)) == THREE


@pytest.mark.parametrize("numbers", [(3, 1, 7), (2, 1, 3, 3), (5, 4, 3)])
def test_channel_numbers_that_leave_the_order_open(tmp_path, numbers):
    rows = "".join(f"{number},CD{place}\n" for place, number in enumerate(numbers))
    with pytest.raises(
        ValueError, match=r"panel\.csv' are not in the order of their column 'channel_number' \(.*Sort the rows"
    ):
        read_channel_names(written(tmp_path, "channel_number,marker\n" + rows))


@pytest.mark.parametrize("title", ["index", "No.", "#", ""])
def test_a_column_that_may_number_the_planes(tmp_path, title):
    content = f"{title},marker\n2,CD3\n3,CD8\n1,DAPI\n"
    with pytest.warns(
        UserWarning, match=r"numbers the rows 2, 3, 1, which is not their order.*call the column 'channel_number'"
    ):
        assert read_channel_names(written(tmp_path, content)) == ["CD3", "CD8", "DAPI"]
    assert read_channel_names(written(tmp_path, content.replace(title, "channel_number", 1))) == THREE


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("Cycle,DAPI,FITC,Cy5\n2,DAPI,CD20,Blank\n1,DAPI,CD3,CD8\n", id="a row per cycle"),
        pytest.param(
            "Cycle;CH1;CH2;CH3;exposure\n1;DAPI;CD3;CD8;100\n2;DAPI;CD20;;80\n", id="a column too many, an empty cell"
        ),
        pytest.param(
            "Round;DAPI;FITC;Cy5\n1;DAPI;CD3;CD8\n2;DAPI;CD20;<NA>\n", id="a missing value as pandas writes it"
        ),
        pytest.param("channel,cycle1,cycle2\nDAPI,DAPI,DAPI\nFITC,CD3,CD20\nCy5,CD8,Blank\n", id="a column per cycle"),
    ],
)
def test_tables_of_cycles_and_channels(tmp_path, content):
    panel = read_panel(written(tmp_path, content))
    assert panel.names(6) == ["DAPI_1", "CD3", "CD8", "DAPI_2", "CD20", "Blank"]
    assert panel.counts == ({5, 6} if ";" in content else {6})


def test_a_table_of_exposures_is_no_panel(tmp_path):
    with pytest.raises(ValueError, match=r"holds numbers \('100', '200', '100', '400'\), not names\. Pass the panel"):
        read_channel_names(written(tmp_path, "cycle,DAPI,Cy5\n1,100,200\n2,100,400\n"))


@pytest.mark.parametrize("title", ["cycle", "Imaging Round", "Cyc", "cycle id"])
def test_a_stain_of_every_cycle_is_numbered_and_a_marker_is_not(tmp_path, title):
    path = written(tmp_path, f"{title},marker\n1,DAPI\n1,CD3\n2,DAPI\n2,CD3\n")
    assert read_channel_names(path) == ["DAPI_1", "CD3", "DAPI_2", "CD3"]
    assert read_channel_names(written(tmp_path, "DAPI\nCD3\nDAPI\n")) == ["DAPI", "CD3", "DAPI"]


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("keep", "1110"),
        ("Use", "yes,yes,yes,no"),
        ("full", "1,1,1,"),
        ("exclude", ",,,x"),
        ("REMOVE", "FALSE,False,false,TRUE"),
    ],
)
def test_rows_that_are_not_used(tmp_path, caplog, column, cells):
    marks = cells.split(",") if "," in cells else cells
    rows = "".join(f"{name},{mark}\n" for name, mark in zip([*THREE, "Xe131"], marks, strict=True))
    panel = read_panel(written(tmp_path, f"name,{column}\n{rows}"))
    with caplog.at_level("INFO", "kronos_sc"):
        assert panel.names() == panel.names(3) == THREE
        assert panel.names(4) == [*THREE, "Xe131"]
    assert "1 of 4 rows are left out" in caplog.text
    assert "the image has all 4 channels" in caplog.text
    assert "'row 5: Xe131'" in caplog.text


def test_a_column_that_says_something_else_decides_nothing(tmp_path):
    assert read_panel(written(tmp_path, "name,use\nDAPI,nuclei\nCD3,T cells\nCD8,\n")).counts == {3}
    assert read_panel(written(tmp_path, "name,keep\nDAPI,\nCD3,\nCD8,\n")).counts == {3}
    assert read_panel(written(tmp_path, "name,keep,remove\nDAPI,1,\nCD3,1,TRUE\nCD8,0,\n")).counts == {3, 2, 1}


def test_names_left_empty(tmp_path, caplog):
    with caplog.at_level("INFO", "kronos_sc"):
        path = written(tmp_path, "channel,Metal Tag,Target\n1,Ir191,DAPI\n2,Xe131,\n3,,NaN\n4,Na23,Na\n")
        assert read_channel_names(path) == ["DAPI", "Xe131", "channel_2", "Na"]
    assert "rows 3 have no 'Target' and are called as another column calls them" in caplog.text
    assert "rows 4 have no name and are numbered" in caplog.text


@pytest.mark.parametrize(
    "start",
    [b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"\x1f\x8b", b"II*\x00", b"<html>", b"a\x00b\x00\x00\x00c", b"\x81\x8d"],
)
def test_what_is_no_text(tmp_path, start):
    with pytest.raises(ValueError, match=r"panel\.xlsx' is .*not a text file that can be read\. Save it as CSV UTF-8"):
        read_channel_names(written(tmp_path, start + b"\x90" * 9, "panel.xlsx"))


def test_names_that_look_like_something_else(tmp_path):
    names = ["PKCα", "[89Y] CD45", "{CD3}"]
    assert read_channel_names(written(tmp_path, "\n".join(names))) == names


def test_names_that_hold_the_separator(tmp_path):
    with pytest.raises(
        ValueError, match=r"Rows 3 of .*panel\.csv' have more cells than its header \(2: 'marker', 'cycle'\).*in quotes"
    ):
        read_channel_names(written(tmp_path, "marker,cycle\nDAPI,1\nKi-67, B56,1\n"))


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"close names there: 'panel\.csv'\. Correct panel="):
        read_channel_names(written(tmp_path, "DAPI").with_name("panels.csv"), argument="panel")
    with pytest.raises(ValueError, match=r"is a folder, not a file of channel names"):
        read_channel_names(tmp_path)


def test_what_repeats_and_is_no_marker_is_numbered():
    names = ["Blank", "Blank", "Blank_2", "CD3", "CD3", "Autofluorescence", "Autofluorescence", "Cy5", "Cy5"]
    found = [
        "Blank_1",
        "Blank_3",
        "Blank_2",
        "CD3",
        "CD3",
        "Autofluorescence_1",
        "Autofluorescence_2",
        "Cy5_1",
        "Cy5_2",
    ]
    assert numbered(names, "list") == found
    assert numbered(found, "list") == found


def test_no_number_makes_a_marker():
    # calcium several times over must not become the protein CA9
    found = numbered(["Ca"] * 10, "list")
    assert len(set(found)) == 10
    assert not [name for name in found if recognise(name)]


def test_names_that_a_spreadsheet_made_dates_of(tmp_path):
    with pytest.warns(UserWarning, match=r"made dates of \('row 3: 4-Oct', 'row 5: Mar-01'\): OCT4 becomes 4-Oct"):
        read_channel_names(written(tmp_path, "marker\nDAPI\n4-Oct\nCD3\nMar-01\n"))


@pytest.mark.filterwarnings("error")
def test_names_that_begin_with_a_number(tmp_path):
    names = ["107Ag", "4-1BB", "5 hmC"]
    assert read_channel_names(written(tmp_path, "\n".join(names))) == names
