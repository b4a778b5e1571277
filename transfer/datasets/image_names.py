"""Finds the files of a folder from names in a list, and files with similar names."""

from __future__ import annotations

import os
import unicodedata
from bisect import bisect_left
from collections import defaultdict
from pathlib import Path, PurePosixPath

from backbones.common.near_names import folded
from backbones.common.regular_file import UnfitFile

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
"""Extensions of images, in small or capital letters."""


def folders_of_images(folder: Path) -> list[Path]:
    """Where the images of a folder are: in it, or if it holds only folders, in those.

    They are ordered by name, without hidden ones; folders inside them are not read.
    """
    paths = sorted(path for path in folder.iterdir() if path.name[0] != ".")
    return paths if paths and all(path.is_dir() for path in paths) else [folder]


class ImageFinder:
    """Finds the images of a folder by their names without the extension.

    Args:
        folder: The folder.
        suffix: Suffix after every name, such as ``".png"``; empty for any of :data:`ENDINGS`.
        rather: The preferred extension if files of one name have several.
        but: An extension of masks, not of images.
        choice: The entry of a data set's file that sets the suffix.
    """

    def __init__(
        self,
        folder: Path,
        suffix: str = "",
        rather: str = "",
        but: str = "",
        choice: str = "suffix",
    ) -> None:
        self.folder = folder
        self.choice = choice
        self.suffix = suffix
        self.rather = rather
        self.but = but
        self._folders: dict[Path, dict[str, list[str]]] = {}

    def names(self) -> list[str]:
        """The names of its images, ordered by file name, without hidden files.

        If the folder holds only folders, as in Cityscapes, the names are those in its folders,
        after the folder's name.

        Raises:
            UnfitFile: Not a folder, or not readable.
        """
        if not self.folder.is_dir():
            raise UnfitFile(self.folder, "is no folder")
        try:
            return [
                (folder / name).relative_to(self.folder).as_posix()
                for folder in folders_of_images(self.folder)
                for name, _ in sorted(self._names_in(folder).items(), key=lambda item: item[1])
            ]
        except OSError as error:
            raise UnfitFile(self.folder, f"could not be read ({error.strerror})") from error

    def find(self, name: str) -> Path:
        """The file of an image, which may be missing.

        Args:
            name: Its name in the list, perhaps with folders.

        Raises:
            UnfitFile: Several files match.
        """
        place = self.folder / name
        try:
            found = self._names_in(place.parent).get(place.name, [])
        except (OSError, ValueError):  # no such folder, or an impossible name
            found = []
        if len(found) > 1 and self.rather:
            found = [file for file in found if file.endswith(self.rather)] or found
        if len(found) > 1:
            names = self._names_in(place.parent).values()
            several = sum(len(files) > 1 for files in names)
            choices = f"could be {' or '.join(found)} ({several} such names there)"
            raise UnfitFile(place, f"{choices}; choose one with '{self.choice}' in the split")
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
        """The name of an image in lists; empty for other files."""
        if self.suffix:
            is_meant = file.casefold().endswith(self.suffix.casefold())
            return file[: -len(self.suffix)] if is_meant else ""
        name, ending = os.path.splitext(file)
        return name if ending.lower() in ENDINGS and ending.lower() != self.but else ""


class Neighbours:
    """Finds the files of a folder by similar names.

    Args:
        folder: The folder.
        endings: Extensions of the files, in small letters.
        with_ending: Whether names include the extension, as in COCO's files but not in lists.
        longer: Whether files with longer names are found too, as for many masks.
        suffix: What the wanted files end in; empty if a data set's file does not say.
    """

    def __init__(
        self,
        folder: Path,
        endings: tuple[str, ...] = ENDINGS,
        with_ending: bool = False,
        longer: bool = False,
        suffix: str = "",
    ) -> None:
        self.folder = folder
        self.suffix = suffix
        self.endings = endings
        self.with_ending = with_ending
        self.longer = longer
        self._folders: dict[Path, tuple[dict[str, str], list[str]]] = {}

    def instead_of(self, name: str) -> tuple[str, str] | None:
        """The likely file for a missing one.

        Args:
            name: Its name in the list, perhaps with folders.

        Returns:
            The file's name, and its difference from the name in the list.
        """
        columns = [] if self.with_ending else name.split()[:1]
        for listed in dict.fromkeys([name, *columns]):
            plain = PurePosixPath(listed.replace("\\", "/"))
            near = self.folder / plain.parent
            files, keys = self._files(near if near.is_dir() else self.folder)
            for last in dict.fromkeys([plain.name, _without_ending(plain.name)]):
                if found := files.get(folded(last)):
                    return found, self._difference(name, listed, found)
            if self.longer:
                for start in (f"{folded(plain.name)}{sign}" for sign in "_-. "):
                    at = bisect_left(keys, start)
                    if at < len(keys) and keys[at].startswith(start):
                        longer = "the file's name is longer"
                        return files[keys[at]], self._lacks_suffix(files[keys[at]]) or longer
        return None

    def _files(self, folder: Path) -> tuple[dict[str, str], list[str]]:
        """Files by their names without extension and case, and these names in order."""
        if folder not in self._folders:
            try:
                names = sorted(
                    (name for name in os.listdir(folder) if name[0] != "."), reverse=True
                )
            except OSError:
                names = []
            files = {folded(os.path.splitext(name)[0]): name for name in names}
            self._folders[folder] = files, sorted(files)
        return self._folders[folder]

    def _lacks_suffix(self, found: str) -> str:
        """That a file does not end as the wanted ones; empty if it does."""
        ends = found.casefold().endswith(self.suffix.casefold())
        return "" if ends else f"it does not end in '{self.suffix}'"

    def _difference(self, name: str, listed: str, found: str) -> str:
        """The difference of a listed name from the intended file's."""
        if difference := self._lacks_suffix(found):
            return difference
        last = PurePosixPath(listed.replace("\\", "/"))
        file, ending = os.path.splitext(found)
        bare = _without_ending(last.name)
        differences = []
        if listed != name:
            differences.append("the line has further columns")
        if "\\" in listed:
            differences.append("it has \\ for /")
        if len(last.parts) > 1 and not (self.folder / last.parent).is_dir():
            differences.append("it starts with a folder's name")
        if not self.with_ending and bare != last.name:
            differences.append(f"it has the extension {last.name[len(bare) :]}")
        if bare != file:
            same = unicodedata.normalize("NFC", bare) == unicodedata.normalize("NFC", file)
            differences.append(
                "it is in Unicode's other form" if same else "upper and lower case differ"
            )
        if ending.lower() not in self.endings:
            differences.append(
                f"files in {ending} are not read" if ending else "the file has no extension"
            )
        elif self.with_ending and last.name[len(bare) :] != ending:
            differences.append("its extension differs")
        return ", ".join(differences)


def _without_ending(name: str) -> str:
    stem, ending = os.path.splitext(name)
    return stem if ending.lower() in ENDINGS else name
