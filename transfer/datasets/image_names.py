"""From the names in a list to the files of a folder, and to what lies there under a like name."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from pathlib import Path, PurePosixPath

from backbones.common.near_names import folded
from backbones.common.regular_file import UnfitFile

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
"""What images end in, in small or capital letters."""


class ImageFinder:
    """Finds the images of a folder by their names without the ending.

    Args:
        folder: The folder.
        suffix: What follows every name, such as ``".png"``; empty for any of :data:`ENDINGS`.
        rather: The ending that is taken where files of one name have several.
        but: An ending that is not an image's here, but a mask's.
    """

    def __init__(self, folder: Path, suffix: str = "", rather: str = "", but: str = "") -> None:
        self.folder = folder
        self.suffix = suffix
        self.rather = rather
        self.but = but
        self._folders: dict[Path, dict[str, list[str]]] = {}

    def names(self) -> list[str]:
        """The names of its images, in the order of the files' names; hidden ones are not meant.

        Raises:
            UnfitFile: No folder, or one that cannot be read.
        """
        if not self.folder.is_dir():
            raise UnfitFile(self.folder, "is no folder")
        try:
            found = self._names_in(self.folder)
        except OSError as error:
            raise UnfitFile(self.folder, f"could not be read ({error.strerror})") from error
        return sorted(found, key=lambda name: found[name][0])

    def find(self, name: str) -> Path:
        """The file of an image; where there is none, the one that is missing.

        Args:
            name: As it is listed, perhaps with folders before it.

        Raises:
            UnfitFile: There is more than one.
        """
        place = self.folder / name
        try:
            found = self._names_in(place.parent).get(place.name, [])
        except (OSError, ValueError):  # no such folder, or a name that none can have
            found = []
        if len(found) > 1 and self.rather:
            found = [file for file in found if file.endswith(self.rather)] or found
        if len(found) > 1:
            names = self._names_in(place.parent).values()
            several = sum(len(files) > 1 for files in names)
            told = f"could be {' or '.join(found)} ({several} such names there)"
            raise UnfitFile(place, f"{told}; say which with 'suffix' in the split")
        missing = place.name + (self.suffix or self.rather or ENDINGS[0])
        return place.parent / (found[0] if found else missing)

    def _names_in(self, folder: Path) -> dict[str, list[str]]:
        """The files of a folder by the names of their images, each list sorted."""
        if folder not in self._folders:
            found: dict[str, list[str]] = defaultdict(list)
            with os.scandir(folder) as entries:
                files = sorted(e.name for e in entries if e.name[0] != "." and not e.is_dir())
            for file in files:
                if name := self._name(file):
                    found[name].append(file)
            self._folders[folder] = found
        return self._folders[folder]

    def _name(self, file: str) -> str:
        """What an image is called in lists; empty for a file that is none."""
        if self.suffix:
            is_meant = file.casefold().endswith(self.suffix.casefold())
            return file[: -len(self.suffix)] if is_meant else ""
        name, ending = os.path.splitext(file)
        return name if ending.lower() in ENDINGS and ending.lower() != self.but else ""


class Neighbours:
    """The files of a folder, to be found under names that are nearly theirs.

    Args:
        folder: The folder.
        endings: What the files that are meant end in, in small letters.
        with_ending: Whether names have their ending, as in COCO's files; in lists they do not.
        longer: Whether a file whose name goes on, as that of many masks does, is found too.
    """

    def __init__(
        self,
        folder: Path,
        endings: tuple[str, ...] = ENDINGS,
        with_ending: bool = False,
        longer: bool = False,
    ) -> None:
        self.folder = folder
        self.endings = endings
        self.with_ending = with_ending
        self.longer = longer
        self._folders: dict[Path, dict[str, str]] = {}

    def instead_of(self, name: str) -> tuple[str, str] | None:
        """What lies in the place of a file that is missing.

        Args:
            name: As it is listed, perhaps with folders before it.

        Returns:
            The file's name, and how that in the list differs from it.
        """
        columns = [] if self.with_ending else name.split()[:1]
        for told in dict.fromkeys([name, *columns]):
            plain = PurePosixPath(told.replace("\\", "/"))
            near = self.folder / plain.parent
            files = self._files(near if near.is_dir() else self.folder)
            for last in dict.fromkeys([plain.name, _without_ending(plain.name)]):
                if found := files.get(folded(last)):
                    return found, self._difference(name, told, found)
            if self.longer:
                start = tuple(f"{folded(plain.name)}{sign}" for sign in "_-. ")
                if found := next((files[key] for key in files if key.startswith(start)), None):
                    return found, "the file's name is longer"
        return None

    def _files(self, folder: Path) -> dict[str, str]:
        """Files by what is left of their names without the ending and the case of letters."""
        if folder not in self._folders:
            try:
                names = sorted(
                    (name for name in os.listdir(folder) if name[0] != "."), reverse=True
                )
            except OSError:
                names = []
            self._folders[folder] = {folded(os.path.splitext(name)[0]): name for name in names}
        return self._folders[folder]

    def _difference(self, name: str, told: str, found: str) -> str:
        """How a listed name differs from that of the file that is meant."""
        last = PurePosixPath(told.replace("\\", "/"))
        file, ending = os.path.splitext(found)
        bare = _without_ending(last.name)
        said = []
        if told != name:
            said.append("the line has further columns")
        if "\\" in told:
            said.append("it has \\ for /")
        if len(last.parts) > 1 and not (self.folder / last.parent).is_dir():
            said.append("it has a folder's name before it")
        if not self.with_ending and bare != last.name:
            said.append(f"it has the ending {last.name[len(bare) :]}")
        if bare != file:
            same = unicodedata.normalize("NFC", bare) == unicodedata.normalize("NFC", file)
            said.append("it is in Unicode's other form" if same else "its letters' case differs")
        if ending.lower() not in self.endings:
            said.append(f"files in {ending} are not read" if ending else "the file has no ending")
        elif self.with_ending and last.name[len(bare) :] != ending:
            said.append("its ending differs")
        return ", ".join(said)


def _without_ending(name: str) -> str:
    stem, ending = os.path.splitext(name)
    return stem if ending.lower() in ENDINGS else name
