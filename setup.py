"""A wheel holds the files that `pdpipe new` writes, which stand once: in the repository's root."""

from pathlib import Path
from runpy import run_path

from setuptools import setup
from setuptools.command.build_py import build_py

FILES = run_path("pdpipe/projects/files.py")["FILES"]


class BuildWithTemplate(build_py):
    """Copies them to `pdpipe/projects/template`; an editable install has the root itself."""

    def run(self) -> None:
        """Build the package."""
        super().run()
        if not self.editable_mode:
            for name in FILES:
                target = Path(self.build_lib, "pdpipe/projects/template", name)
                self.mkpath(str(target.parent))
                self.copy_file(name, str(target))

    def get_source_files(self) -> list[str]:
        """Say what a source distribution has to hold."""
        return [*super().get_source_files(), *FILES]


setup(cmdclass={"build_py": BuildWithTemplate})
