/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * tell.bpf.h - the record of an event, written into the ring
 */
#ifndef OUTRIGGER_TELL_BPF_H
#define OUTRIGGER_TELL_BPF_H

/*
 * A file's key, where the file system's own numbers are those that stat(2) gives. Elsewhere (btrfs,
 * overlayfs, ...) only the file system knows those, and it cannot be asked from here.
 */
static __always_inline void tell_file(struct plane_record *record, __u64 number)
{
	struct inode *inode = (void *)number;
	struct super_block *sb = BPF_CORE_READ(inode, i_sb);

	switch (BPF_CORE_READ(sb, s_magic)) {
	case 0xef53:	 /* ext2, ext3, ext4 */
	case 0x58465342: /* xfs */
	case 0x01021994: /* tmpfs */
		record->inode = BPF_CORE_READ(inode, i_ino);
		record->device = BPF_CORE_READ(sb, s_dev);
		record->flags |= PLANE_HAS_FILE;
	}
}

static __always_inline __u32 text_len(struct facts *f, __u32 place, __u32 most)
{
	__u32 len = f->texts[place - PLACE_EXE].len;

	return f->has & 1ULL << place && len <= most ? len : 0;
}

__noinline int plane_tell(struct facts *f, struct outcome *out)
{
	struct plane_record *record;
	struct plane_shared *page;
	struct task_struct *leader;
	struct subject *subject;
	struct bpf_dynptr room;
	__u32 zero = 0, cpu = bpf_get_smp_processor_id(), path, new_path, text, at;
	__u64 *lost;

	page = bpf_map_lookup_elem(&plane_shared, &zero);
	if (!f || !out || !page)
		return 0;
	lost = &plane_losses_of(page, cpu)->lost[bounded(f->index, PLANE_EVENTS - 1)];
	facts_walk(f);
	path = text_len(f, PLACE_PATH, FACTS_PATH);
	new_path = text_len(f, PLACE_NEW_PATH, FACTS_PATH);
	text = text_len(f, PLACE_TEXT, FACTS_SHORT - 1);

	if (bpf_ringbuf_reserve_dynptr(&plane_ring, sizeof(*record) + path + new_path + text, 0,
				       &room)) {
		__sync_fetch_and_add(lost, 1);
		/* It must be given back even where it holds nothing. */
		bpf_ringbuf_discard_dynptr(&room, BPF_RB_NO_WAKEUP);
		return 0;
	}
	record = bpf_dynptr_data(&room, 0, sizeof(*record));
	if (!record) {
		bpf_ringbuf_discard_dynptr(&room, BPF_RB_NO_WAKEUP); /* never: for the verifier */
		return 0;
	}
	__builtin_memset(record, 0, sizeof(*record));
	leader = bpf_get_current_task_btf()->group_leader;
	record->time = bpf_ktime_get_ns();
	record->cpu = cpu & (PLANE_SLOTS - 1);
	record->lost = *lost;
	record->has = f->has;
	record->values[0] = f->numbers[PLACE_VALUE0];
	record->values[1] = f->numbers[PLACE_VALUE1];
	record->wanted = out->tell;
	record->generation = out->generation;
	record->process = identify(leader);
	subject = bpf_task_storage_get(&subjects, leader, 0, 0);
	if (subject)
		record->parent = subject->parent;
	record->uid = f->numbers[PLACE_SUBJECT_UID];
	record->gid = f->numbers[PLACE_SUBJECT_GID];
	__builtin_memcpy(record->address, f->address, sizeof(record->address));
	record->family = f->numbers[PLACE_FAMILY];
	record->port = f->numbers[PLACE_PORT];
	record->path_len = path;
	record->new_path_len = new_path;
	record->text_len = text;
	record->event = f->event;
	if (out->flags & RULED_DENY) {
		record->outcome = PLANE_DENIED;
		record->rule = out->deny;
	} else if (out->flags & RULED_WOULD_DENY) {
		record->outcome = PLANE_WOULD_DENY;
		record->rule = out->would_deny;
	} else if (out->flags & RULED_ALLOW) {
		record->outcome = PLANE_ALLOWED;
		record->rule = out->allow;
	}
	if (out->generation)
		record->flags |= PLANE_FILTERED;
	if (f->inode)
		tell_file(record, f->inode);
	if (f->target) {
		record->target = identify_number(f->target);
		record->flags |= PLANE_HAS_TARGET;
	}
	at = f->texts[PLACE_PATH - PLACE_EXE].at;
	if (path && at < FACTS_PATH)
		bpf_dynptr_write(&room, sizeof(*record), &f->path[at], path, 0);
	at = f->texts[PLACE_NEW_PATH - PLACE_EXE].at;
	if (new_path && at < FACTS_PATH)
		bpf_dynptr_write(&room, sizeof(*record) + path, &f->new_path[at], new_path, 0);
	if (text)
		bpf_dynptr_write(&room, sizeof(*record) + path + new_path, f->text, text, 0);
	bpf_ringbuf_submit_dynptr(&room, ring_wake(&plane_ring, &page->wake_at));
	return 0;
}

#endif
