"""What the packages' own scripts would have made, and what no job should have to make anew."""

import os
import shutil
import sysconfig
from pathlib import Path

PACKAGES = Path("/usr/lib/python3/dist-packages")
CACHE = Path("/usr/share/matplotlib/cache")


def link_algebra() -> None:
    """Choose OpenBLAS as the distribution's alternatives would: under the names that numpy and scipy ask for."""
    libraries = Path("/usr/lib", str(sysconfig.get_config_var("MULTIARCH")))
    for library in libraries.glob("openblas-pthread/*.so.*"):
        link = libraries / library.name
        link.unlink(missing_ok=True)
        link.symlink_to(library.relative_to(libraries))


def remove_needless() -> None:
    """Remove the libraries' own tests, and the rules of sympy that are of no use without a package that is not here."""
    for folder in [*PACKAGES.glob("*/**/tests"), PACKAGES / "sympy/integrals/rubi"]:
        shutil.rmtree(folder, ignore_errors=True)


def list_fonts() -> None:
    """Have matplotlib list the fonts, and find that list again: it would use no cache that it cannot write to."""
    CACHE.mkdir()
    os.environ |= {"MPLCONFIGDIR": str(CACHE), "MPLBACKEND": "Agg"}
    import matplotlib.font_manager  # noqa: F401 - importing it is what makes the list

    with (PACKAGES / "matplotlib/__init__.py").open("a") as file:
        file.write(f"\n\ndef get_cachedir():\n    return {str(CACHE)!r}\n")


link_algebra()
remove_needless()
list_fonts()
