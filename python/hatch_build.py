# SPDX-License-Identifier: GPL-2.0-or-later
"""Build hook: the version is that of the repository, see ksm/version.py."""

from __future__ import annotations

import runpy
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface


class VersionHook(MetadataHookInterface):
    """Fills in the dynamic field "version"."""

    def update(self, metadata: dict[str, object]) -> None:
        """Take it from the tree that is built; an import would take an installed package's."""
        module = runpy.run_path(str(Path(self.root) / "ksm" / "version.py"))
        metadata["version"] = module["tree_version"]()
