# SPDX-License-Identifier: GPL-2.0-or-later
"""Lookup: digest of a file of the control node, whatever is in it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: digest
short_description: Digest of a file of the control node
version_added: 0.1.0
description:
  - Finds the file where M(ansible.builtin.copy) does, decrypts it when it is of a vault, and digests its
    bytes. C(ansible.builtin.file) takes text only.
options:
  _terms:
    description: Paths of the files.
    type: list
    elements: path
    required: true
author:
  - The ksm-fleet developers (@ksm-fleet)
"""

EXAMPLES = r"""
- name: Tell the digest of a key
  ansible.builtin.debug:
    msg: "{{ lookup('ksm.fleet.digest', 'keyring.gpg') }}"
"""

RETURN = r"""
_raw:
  description: SHA-256 digests, such as C(sha256:e3b0c442...).
  type: list
  elements: str
"""

import hashlib
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase


class LookupModule(LookupBase):
    """What Ansible looks for."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        return [f"sha256:{hashlib.sha256(self._content(term, variables)).hexdigest()}" for term in terms]

    def _content(self, term: str, variables: Any) -> bytes:
        found = self.find_file_in_search_path(variables, "files", term, ignore_missing=True)
        if not found:
            raise AnsibleError(f"{term} is not there: write the path of a file of the control node")
        with open(self._loader.get_real_file(found), "rb") as stream:
            return stream.read()
