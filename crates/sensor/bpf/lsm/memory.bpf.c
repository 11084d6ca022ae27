// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * memory.bpf.c - memory becomes executable
 *
 * Hooks:   lsm/file_mprotect(vma, requested, protection)  mprotect(2), pkey_mprotect(2)
 *          lsm/mmap_file(file, requested, protection, flags)  without a file: new executable memory
 * Since:   Linux 5.7; neither sleeps here
 * Returns: what the rules say; 0 where nobody is asked
 *
 * Memory that is executable already is not told of again. A file that is mapped executable is
 * file.mmap_exec.
 */
#include "plane.bpf.h"

/* linux/mm.h */
#define VM_EXEC 4

SEC("lsm/file_mprotect")
int BPF_PROG(memory_mprotect_exec, struct vm_area_struct *vma, unsigned long requested,
	     unsigned long protection, int ret)
{
	struct facts *f;
	struct file *file;

	if (!(protection & PROT_EXEC) || vma->vm_flags & VM_EXEC)
		return ret;
	f = facts_begin(MEMORY_MPROTECT_EXEC, ret);
	if (!f)
		return ret;
	file = vma->vm_file;
	facts_number(f, PLACE_VALUE0, !file);
	facts_number(f, PLACE_VALUE1, (protection & PROT_WRITE) != 0);
	if (!file) {
		facts_nowhere(f);
		return facts_end(f);
	}
	facts_file(f, file);
	return facts_end_of(f, file->f_inode);
}

SEC("lsm/mmap_file")
int BPF_PROG(memory_mmap_exec, struct file *file, unsigned long requested, unsigned long protection,
	     unsigned long flags, int ret)
{
	struct facts *f;

	if (argument(ctx, 0) || !(protection & PROT_EXEC))
		return ret;
	f = facts_begin(MEMORY_MPROTECT_EXEC, ret);
	if (!f)
		return ret;
	facts_number(f, PLACE_VALUE0, 1);
	facts_number(f, PLACE_VALUE1, (protection & PROT_WRITE) != 0);
	facts_nowhere(f);
	return facts_end(f);
}
