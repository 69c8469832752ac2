/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every difference between the kernels that we build for, and nothing else.
 *
 * Kbuild probes for it (KS_HAVE_*, see probes/), or a macro of the kernel tells.
 * No version numbers but for the oldest: distributions backport.
 */
#ifndef KS_COMPAT_H
#define KS_COMPAT_H

#include <linux/cred.h>
#include <linux/memcontrol.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/sched/coredump.h>
#include <linux/shrinker.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/version.h>
#include "ks_probed.h"
#ifdef KS_HAVE_EXEC_STATE
#include <linux/sched/exec_state.h>
#endif
#ifdef CONFIG_ARM64_MTE
#include <asm/mte.h>
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "ksm.ko needs Linux 6.1 or later"
#endif
#ifndef CONFIG_DEVICE_MIGRATION
#error "ksm.ko needs a kernel with CONFIG_DEVICE_MIGRATION"
#endif

/* Since 6.19 a non-present PTE is a "software leaf". */
#ifdef KS_HAVE_LEAFOPS
#include <linux/leafops.h>
static inline bool ks_pte_is_migration_of(pte_t pte, struct page *page)
{
	softleaf_t entry;

	if (pte_none(pte) || pte_present(pte))
		return false;
	entry = softleaf_from_pte(pte);
	return softleaf_is_migration(entry) && softleaf_to_page(entry) == page;
}

static inline bool ks_migration_is_exclusive(pte_t pte)
{
	softleaf_t entry = softleaf_from_pte(pte);

	return softleaf_is_migration_write(entry) ||
	       softleaf_is_migration_read_exclusive(entry);
}
#else
static inline bool ks_pte_is_migration_of(pte_t pte, struct page *page)
{
	swp_entry_t entry;

	if (pte_none(pte) || pte_present(pte))
		return false;
	entry = pte_to_swp_entry(pte);
	return is_migration_entry(entry) && pfn_swap_entry_to_page(entry) == page;
}

/* Of a migration entry: was the page nobody else's? */
static inline bool ks_migration_is_exclusive(pte_t pte)
{
	swp_entry_t entry = pte_to_swp_entry(pte);

	return is_writable_migration_entry(entry) ||
	       is_readable_exclusive_migration_entry(entry);
}
#endif

/*
 * Fill in an entry that was not present, for a page without memory tags. The
 * set_pte_at() of an arm64 with tags would pull in mte_sync_tags(), which is not
 * exported; what else it does is done here, but for joining and parting runs of
 * neighbours, which ours never belong to.
 */
#ifdef CONFIG_ARM64_MTE
#ifdef CONFIG_PAGE_TABLE_CHECK
#error "ksm.ko cannot write page tables of an arm64 kernel with CONFIG_PAGE_TABLE_CHECK"
#endif
static inline void ks_set_pte_at(struct mm_struct *mm, unsigned long addr, pte_t *ptep,
				 pte_t pte)
{
	if (pte_user_exec(pte) && !pte_special(pte))
		__sync_icache_dcache(pte);
	set_pte(ptep, pte);
}
#else
static inline void ks_set_pte_at(struct mm_struct *mm, unsigned long addr, pte_t *ptep,
				 pte_t pte)
{
	set_pte_at(mm, addr, ptep, pte);
}
#endif

/*
 * Has the page memory tags, which are not among its bytes? Those of a KVM guest
 * may, in memory that is not marked VM_MTE.
 */
static inline bool ks_page_has_tags(struct page *page)
{
#ifdef CONFIG_ARM64_MTE
	return system_supports_mte() && page_mte_tagged(page);
#else
	return false;
#endif
}

/*
 * One page of @mm's turns from anonymous to mapped. add_mm_counter() would
 * pull in mm_trace_rss_stat(), which is not exported.
 */
static inline void ks_rss_anon_to_file(struct mm_struct *mm)
{
#ifdef KS_HAVE_RSS_PERCPU
	percpu_counter_dec(&mm->rss_stat[MM_ANONPAGES]);
	percpu_counter_inc(&mm->rss_stat[MM_FILEPAGES]);
#else
	atomic_long_dec(&mm->rss_stat.count[MM_ANONPAGES]);
	atomic_long_inc(&mm->rss_stat.count[MM_FILEPAGES]);
#endif
}

/* One page of @mm's turns from anonymous to the zero page, which is not counted. */
static inline void ks_rss_anon_to_zero(struct mm_struct *mm)
{
#ifdef KS_HAVE_RSS_PERCPU
	percpu_counter_dec(&mm->rss_stat[MM_ANONPAGES]);
#else
	atomic_long_dec(&mm->rss_stat.count[MM_ANONPAGES]);
#endif
}

/*
 * migrate_vma_setup() splits a large folio that page table entries map one by
 * one: since 6.19. Before that it leaves it alone, and nothing else that is
 * exported splits it.
 */
#ifdef MIGRATE_PFN_COMPOUND
#define KS_SPLITS_LARGE_FOLIOS	true
#else
#define KS_SPLITS_LARGE_FOLIOS	false
#endif

/* Did a task of @mm ever ask for MADV_MERGEABLE? mm->flags went opaque in 6.18. */
static inline bool ks_mm_wants_merging(struct mm_struct *mm)
{
#ifdef KS_HAVE_MM_FLAGS_TEST
	return mm_flags_test(MMF_VM_MERGEABLE, mm);
#else
	return test_bit(MMF_VM_MERGEABLE, &mm->flags);
#endif
}

/* Shrinkers are allocated since 6.7. */
struct ks_shrinker {
#ifdef KS_HAVE_SHRINKER_ALLOC
	struct shrinker *shrinker;
#else
	struct shrinker shrinker;
#endif
};

typedef unsigned long (*ks_shrink_fn)(struct shrinker *shrinker, struct shrink_control *sc);

static inline int ks_shrinker_register(struct ks_shrinker *s, ks_shrink_fn count,
				       ks_shrink_fn scan)
{
#ifdef KS_HAVE_SHRINKER_ALLOC
	s->shrinker = shrinker_alloc(0, "ksm");
	if (!s->shrinker)
		return -ENOMEM;
	s->shrinker->count_objects = count;
	s->shrinker->scan_objects = scan;
	shrinker_register(s->shrinker);
	return 0;
#else
	s->shrinker.count_objects = count;
	s->shrinker.scan_objects = scan;
	s->shrinker.seeks = DEFAULT_SEEKS;
	return register_shrinker(&s->shrinker, "ksm");
#endif
}

static inline void ks_shrinker_unregister(struct ks_shrinker *s)
{
#ifdef KS_HAVE_SHRINKER_ALLOC
	shrinker_free(s->shrinker);
#else
	unregister_shrinker(&s->shrinker);
#endif
}

/*
 * May its owner dump and trace it, as is the default? A mark of the address
 * space, and of the process since 7.3. Who asks has read its credentials: those
 * change after the mark has, see commit_creds(). Context: RCU.
 */
#ifdef KS_HAVE_EXEC_STATE
static inline bool ks_process_is_dumpable(struct task_struct *process, struct mm_struct *mm)
{
	const struct task_exec_state *state;

	smp_rmb(); /* see above */
	state = rcu_dereference(process->exec_state);
	return state && READ_ONCE(state->dumpable) == TASK_DUMPABLE_OWNER;
}
#else
static inline bool ks_process_is_dumpable(struct task_struct *process, struct mm_struct *mm)
{
	smp_rmb(); /* see above */
	return get_dumpable(mm) == SUID_DUMP_USER;
}
#endif

/* Whose memory is it? mm->owner and the memory cgroup are there with CONFIG_MEMCG only. */
#ifdef CONFIG_MEMCG
#define KS_KNOWS_OWNERS		true

/*
 * The user who may read all of @mm, as ptrace has it. False where none may: the
 * program was set-user-ID, or changed its credentials.
 */
static inline bool ks_mm_readable_by(struct mm_struct *mm, kuid_t *uid)
{
	struct task_struct *owner;
	bool readable = false;

	rcu_read_lock();
	owner = rcu_dereference(mm->owner);
	if (owner) {
		const struct cred *cred = __task_cred(owner);

		*uid = cred->euid;
		readable = uid_eq(cred->uid, *uid) && uid_eq(cred->suid, *uid) &&
			   ks_process_is_dumpable(owner, mm);
	}
	rcu_read_unlock();
	return readable;
}

static inline bool ks_knows_memcgs(void)
{
	return !mem_cgroup_disabled();
}

/* A number for the memory cgroup of @mm, which no other has or ever gets. */
static inline u64 ks_mm_memcg_serial(struct mm_struct *mm)
{
	struct mem_cgroup *memcg = get_mem_cgroup_from_mm(mm);
	u64 serial;

	if (!memcg)
		return 0;
	serial = memcg->css.serial_nr;
	mem_cgroup_put(memcg);
	return serial;
}
#else
#define KS_KNOWS_OWNERS		false
static inline bool ks_mm_readable_by(struct mm_struct *mm, kuid_t *uid)
{
	return false;
}

static inline bool ks_knows_memcgs(void)
{
	return false;
}

static inline u64 ks_mm_memcg_serial(struct mm_struct *mm)
{
	return 0;
}
#endif

/* VMA flags that some kernels or architectures do not have. */
#ifdef VM_SHADOW_STACK
#define KS_VM_SHADOW_STACK	VM_SHADOW_STACK
#else
#define KS_VM_SHADOW_STACK	VM_NONE
#endif
#ifdef VM_DROPPABLE
#define KS_VM_DROPPABLE		VM_DROPPABLE
#else
#define KS_VM_DROPPABLE		VM_NONE
#endif
#ifdef VM_MTE
#define KS_VM_MTE		VM_MTE
#else
#define KS_VM_MTE		VM_NONE
#endif

#endif /* KS_COMPAT_H */
