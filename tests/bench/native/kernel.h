/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * So much of the kernel that what judges pages can be compiled as a program. The
 * kernel's headers are empty files, and this is included before everything.
 *
 * Modelled, not the kernel's: allocation (libc's), the xarray (a plain array),
 * xxh64 (libxxhash's, the same algorithm). Locks cost nothing.
 */
#ifndef KERNEL_H
#define KERNEL_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int32_t s32;
typedef int64_t s64;
typedef u32 __u32;
typedef u64 __u64;
typedef int32_t __s32;
typedef int64_t __s64;
typedef unsigned int gfp_t;
typedef struct { u32 val; } kuid_t;
typedef struct { u64 val; } pte_t;

#define PAGE_SHIFT 12
#define PAGE_SIZE (1UL << PAGE_SHIFT)
#define BITS_PER_LONG 64
#define U8_MAX 255
#define NUMA_NO_NODE (-1)
#define ENOMEM 12
#define __user
#define static_assert(condition) _Static_assert(condition, #condition)
#define __always_inline inline __attribute__((always_inline))
#define KBUILD_MODNAME "ksm"

#define BIT(n) (1UL << (n))
#define BIT_ULL(n) (1ULL << (n))
#define BITS_TO_LONGS(n) (((n) + 63) / 64)
#define DECLARE_BITMAP(name, bits) unsigned long name[BITS_TO_LONGS(bits)]
#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))
#define min(a, b) ({ __typeof__(a) x_ = (a); __typeof__(b) y_ = (b); x_ < y_ ? x_ : y_; })
#define max(a, b) ({ __typeof__(a) x_ = (a); __typeof__(b) y_ = (b); x_ > y_ ? x_ : y_; })
#define min_t(t, a, b) min((t)(a), (t)(b))
#define max_t(t, a, b) max((t)(a), (t)(b))
#define swap(a, b) do { __typeof__(a) t_ = (a); (a) = (b); (b) = t_; } while (0)
#define roundup_pow_of_two(n) ((n) <= 1 ? 1U : 2U << (31 - __builtin_clz((n) - 1)))
#define struct_size(p, member, n) (sizeof(*(p)) + (n) * sizeof((p)->member[0]))
#define array_size(a, b) ((size_t)(a) * (b))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define cmpxchg(p, old, new) ({					\
	__typeof__(*(p)) was_ = (old);					\
	__atomic_compare_exchange_n((p), &was_, (new), false,		\
				    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); was_; })
#define lockdep_assert_held(lock) do { } while (0)
#define cond_resched() do { } while (0)

static inline bool test_bit(unsigned int n, const unsigned long *map)
{
	return map[n / 64] >> n % 64 & 1;
}

static inline void __set_bit(unsigned int n, unsigned long *map)
{
	map[n / 64] |= 1UL << n % 64;
}

static inline unsigned int find_next_bit(const unsigned long *map, unsigned int size,
					 unsigned int from)
{
	for (unsigned int i = from / 64; i * 64 < size; i++, from = i * 64) {
		unsigned long word = map[i] & ~0UL << from % 64;

		if (word)
			return i * 64 + __builtin_ctzl(word);
	}
	return size;
}

#define for_each_set_bit(bit, map, size)				\
	for ((bit) = find_next_bit(map, size, 0); (bit) < (size);	\
	     (bit) = find_next_bit(map, size, (bit) + 1))

typedef struct { int counter; } atomic_t;
typedef struct { long counter; } atomic_long_t;
#define atomic_read(v) READ_ONCE((v)->counter)
#define atomic_long_inc(v) atomic_long_add(1, v)
#define atomic_long_dec(v) atomic_long_sub(1, v)
#define atomic_long_add(n, v) __atomic_add_fetch(&(v)->counter, n, __ATOMIC_RELAXED)
#define atomic_long_sub(n, v) __atomic_sub_fetch(&(v)->counter, n, __ATOMIC_RELAXED)
#define atomic_long_read(v) READ_ONCE((v)->counter)

struct list_head { struct list_head *next, *prev; };
struct hlist_node { struct hlist_node *next, **pprev; };
struct rhash_head { struct rhash_head *next; };
struct rcu_head { struct rcu_head *next; void (*fn)(struct rcu_head *head); };
struct rw_semaphore { int none; };
struct mutex { int none; };
#define DEFINE_MUTEX(name) struct mutex name
#define mutex_init(lock) ((void)(lock))
#define mutex_lock(lock) ((void)(lock))
#define mutex_unlock(lock) ((void)(lock))

#define GFP_KERNEL 0
#define __GFP_NORETRY 0
#define __GFP_NOWARN 0
#define kzalloc(size, gfp) calloc(1, size)
#define kvzalloc(size, gfp) calloc(1, size)
#define kvcalloc(n, size, gfp) calloc(n, size)
#define kfree(p) free(p)
#define kvfree(p) free(p)
struct kmem_cache { size_t size; };
#define KMEM_CACHE(type, flags) ({ static struct kmem_cache c_ = { sizeof(struct type) }; &c_; })
#define kmem_cache_zalloc(cache, gfp) calloc(1, (cache)->size)
#define kmem_cache_free(cache, p) free(p)
#define kmem_cache_destroy(cache) ((void)(cache))

#define XA_MAX 65536UL
struct xarray { void **at; };
static inline void *xa_load(struct xarray *xa, unsigned long i)
{
	return xa->at[i];
}
#define xa_cmpxchg(xa, i, old, new, gfp) ((xa)->at[i] = (new), NULL)
#define __xa_cmpxchg xa_cmpxchg
#define xa_lock(xa)
#define xa_unlock(xa)
#define xa_erase(xa, i) ((xa)->at[i] = NULL)
#define xa_is_err(p) false
#define xa_destroy(xa) free((xa)->at)
#define xa_for_each_range(xa, i, p, first, final) \
	for ((i) = (first); (i) <= (final); (i)++) if (((p) = (xa)->at[i]))
#define xa_for_each(xa, i, p) xa_for_each_range(xa, i, p, 0UL, XA_MAX - 1)

#define GOLDEN_RATIO_32 0x61C88647
#define GOLDEN_RATIO_64 0x61C8864680B583EBULL
static inline u32 hash_64(u64 value, unsigned int bits)
{
	return value * GOLDEN_RATIO_64 >> (64 - bits);
}

u64 xxh64(const void *data, size_t size, u64 seed);
u64 get_random_u64(void);
void get_random_bytes(void *buf, size_t size);

/* A page of memory, mapped once; a folio is one page. */
struct page { void *data; unsigned long number, private; atomic_t _mapcount; };
struct folio { struct page page; };
#define page_folio(p) ((struct folio *)(p))
#define folio_test_lru(folio) true
#define folio_test_large(folio) false
#define folio_entire_mapcount(folio) 0
#define put_page(page) ((void)(page))
#define page_private(page) ((page)->private)
#define page_to_pfn(page) ((page)->number)
#define kmap_local_page(page) ((page)->data)
#define kunmap_local(p) ((void)(p))

struct mm_struct { int none; };
struct vm_area_struct { int none; };
struct file_operations { int none; };

#endif
