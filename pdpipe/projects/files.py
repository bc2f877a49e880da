"""The repository's own files that a project gets too; `setup.py` reads this list for the wheel."""

FILES = (
    ".dvc/.gitignore",
    ".dvc/config",
    ".dvc/plots/fid_by_steps.json",
    ".dvcignore",
    ".gitattributes",
    ".gitignore",
    "data/README.md",
    "dvc.yaml",
)
