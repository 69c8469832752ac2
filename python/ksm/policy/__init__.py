# SPDX-License-Identifier: GPL-2.0-or-later
"""Which tasks belong to which merge domain, said in files and kept true while tasks come and go.

model: what a policy is. files, section: /etc/ksm/policy.d. processes, matcher: tasks, and whose
they are. record: what was registered, kept on disk. plan: what is to be done. round, tasks: doing
it, once. report: what came of it. loop: again and again.
"""
