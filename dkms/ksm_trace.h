/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Trace events, in /sys/kernel/tracing/events/ksm_fleet ("ksm" is the built-in
 * KSM's).
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM ksm_fleet

#if !defined(KS_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define KS_TRACE_H

#include <linux/tracepoint.h>

#include "engine.h"

/* A pass begins; @pass is what full_scans will be at its end. */
TRACE_EVENT(ks_pass_begin,
	    TP_PROTO(unsigned long pass),
	    TP_ARGS(pass),
	    TP_STRUCT__entry(__field(unsigned long, pass)),
	    TP_fast_assign(__entry->pass = pass;),
	    TP_printk("pass=%lu", __entry->pass)
);

/* A pass has ended, with what the counters of the same names are now. */
TRACE_EVENT(ks_pass_end,
	    TP_PROTO(const struct ks_counters *counters),
	    TP_ARGS(counters),
	    TP_STRUCT__entry(__field(unsigned long, pass)
			     __field(unsigned long, scanned)
			     __field(unsigned long, unshared)
			     __field(unsigned long, is_volatile)
			     __field(unsigned long, skipped)
			     __field(unsigned long, unmergeable)),
	    TP_fast_assign(__entry->pass = counters->full_scans;
			   __entry->scanned = counters->pages_scanned;
			   __entry->unshared = counters->pages_unshared;
			   __entry->is_volatile = counters->pages_volatile;
			   __entry->skipped = counters->pages_skipped;
			   __entry->unmergeable = counters->pages_unmergeable;),
	    TP_printk("pass=%lu scanned=%lu unshared=%lu volatile=%lu skipped=%lu unmergeable=%lu",
		      __entry->pass, __entry->scanned, __entry->unshared, __entry->is_volatile,
		      __entry->skipped, __entry->unmergeable)
);

/* Of the @worth pages of a batch that should merge @merged did. */
TRACE_EVENT(ks_merge,
	    TP_PROTO(const struct mm_struct *mm, unsigned long addr, unsigned int worth,
		     unsigned int merged),
	    TP_ARGS(mm, addr, worth, merged),
	    TP_STRUCT__entry(__field(const void *, mm)
			     __field(unsigned long, addr)
			     __field(unsigned int, worth)
			     __field(unsigned int, merged)),
	    TP_fast_assign(__entry->mm = mm;
			   __entry->addr = addr;
			   __entry->worth = worth;
			   __entry->merged = merged;),
	    TP_printk("mm=%p addr=%#lx worth=%u merged=%u", __entry->mm, __entry->addr,
		      __entry->worth, __entry->merged)
);

/* Of a huge page @worth of @nr pages would merge: is it split? */
TRACE_EVENT(ks_huge,
	    TP_PROTO(const struct mm_struct *mm, unsigned long addr, unsigned int worth,
		     unsigned int nr, bool split),
	    TP_ARGS(mm, addr, worth, nr, split),
	    TP_STRUCT__entry(__field(const void *, mm)
			     __field(unsigned long, addr)
			     __field(unsigned int, worth)
			     __field(unsigned int, nr)
			     __field(bool, split)),
	    TP_fast_assign(__entry->mm = mm;
			   __entry->addr = addr;
			   __entry->worth = worth;
			   __entry->nr = nr;
			   __entry->split = split;),
	    TP_printk("mm=%p addr=%#lx worth=%u nr=%u split=%d", __entry->mm, __entry->addr,
		      __entry->worth, __entry->nr, __entry->split)
);

/* Somebody wrote 2 to run, and @pages were unmerged; @err as the write's. */
TRACE_EVENT(ks_unmerge,
	    TP_PROTO(unsigned long pages, int err),
	    TP_ARGS(pages, err),
	    TP_STRUCT__entry(__field(unsigned long, pages)
			     __field(int, err)),
	    TP_fast_assign(__entry->pages = pages;
			   __entry->err = err;),
	    TP_printk("pages=%lu err=%d", __entry->pages, __entry->err)
);

/* The advisor sets pages_to_scan, after a pass of @wall and @work nanoseconds. */
TRACE_EVENT(ks_advice,
	    TP_PROTO(unsigned int pages_to_scan, u64 wall, u64 work),
	    TP_ARGS(pages_to_scan, wall, work),
	    TP_STRUCT__entry(__field(unsigned int, pages_to_scan)
			     __field(u64, wall)
			     __field(u64, work)),
	    TP_fast_assign(__entry->pages_to_scan = pages_to_scan;
			   __entry->wall = wall;
			   __entry->work = work;),
	    TP_printk("pages_to_scan=%u wall=%llu work=%llu", __entry->pages_to_scan,
		      __entry->wall, __entry->work)
);

#endif /* KS_TRACE_H */

/* Kbuild has this folder among the includes. */
#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE ksm_trace
#include <trace/define_trace.h>
