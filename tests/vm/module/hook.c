// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * hook.c - TEST ONLY: a vendor's sensor as a kernel module, which decides opens by a table
 *
 * Hook:    security_file_open(file), replaced by ftrace as live patching does: it runs as the task that
 *          opens, may sleep, and its result is the answer. An open for execution is process.exec.
 * Reads:   the table in the file whose path is written to the parameter `content`; none, at first
 * Returns: what the kernel decides, and -EPERM in its place where an instance matches
 *
 * Only for the throw-away kernels of tests/vm.
 */
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/ftrace.h>
#include <linux/kernel_read_file.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/rwsem.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "channel.h"

static struct channel_table *table;
static DECLARE_RWSEM(table_lock);
static atomic_long_t events;
static int (*original)(struct file *file);

/* Whether the table in force denies the opening of `file`. */
static bool denied(struct file *file, struct channel_event *event, char *buffer)
{
	const struct inode *inode = file_inode(file);
	const char *path = d_path(&file->f_path, buffer, CHANNEL_PATH);
	struct channel_facts facts = {
		.event = file->f_flags & __FMODE_EXEC ? "process.exec" : "file.open",
		.path = IS_ERR(path) ? "" : path,
		.uid = from_kuid(&init_user_ns, current_euid()),
		.gid = from_kgid(&init_user_ns, current_egid()),
		.size = i_size_read(inode),
		.changed = timespec64_to_ns(&inode->i_ctime),
	};
	const char *name;

	channel_event(event, atomic_long_inc_return(&events), &facts);
	down_read(&table_lock);
	name = table ? channel_match(table, event) : NULL;
	if (name)
		pr_info_ratelimited("channel291: instance %s denies %s\n", name, event->path);
	up_read(&table_lock);
	return name;
}

static int decide(struct file *file)
{
	struct channel_event *event = kvmalloc(sizeof(*event), GFP_KERNEL);
	char *buffer = kmalloc(CHANNEL_PATH, GFP_KERNEL);
	int answer = original(file);

	if (!answer && event && buffer && denied(file, event, buffer))
		answer = -EPERM;
	kfree(buffer);
	kvfree(event);
	return answer;
}

/* Sends who calls the hooked function to `decide`, but for `decide` itself. */
static void notrace divert(unsigned long ip, unsigned long parent, struct ftrace_ops *ops,
			   struct ftrace_regs *fregs)
{
	if (!within_module(parent, THIS_MODULE))
		ftrace_get_regs(fregs)->ip = (unsigned long)decide;
}

static struct ftrace_ops hook = {
	.func = divert,
	.flags = FTRACE_OPS_FL_SAVE_REGS | FTRACE_OPS_FL_RECURSION | FTRACE_OPS_FL_IPMODIFY,
};

/* Puts the table of another file in force. */
static int set_content(const char *path, const struct kernel_param *parameter)
{
	struct channel_table *new, *old;
	const char *wrong;
	unsigned int line;
	char *name = kstrdup(path, GFP_KERNEL);
	void *text = NULL;
	ssize_t len = -ENOMEM;

	new = kvmalloc(sizeof(*new), GFP_KERNEL);
	if (name && new)
		len = kernel_read_file_from_path(strim(name), 0, &text, CHANNEL_TEXT, NULL,
						 READING_UNKNOWN);
	if (len >= 0) {
		wrong = channel_read(new, text, len, &line);
		if (wrong) {
			pr_err("channel291: %s:%u: %s\n", name, line, wrong);
			len = -EINVAL;
		}
		vfree(text);
	}
	kfree(name);
	if (len < 0) {
		kvfree(new);
		return len;
	}
	down_write(&table_lock);
	old = table;
	table = new;
	up_write(&table_lock);
	kvfree(old);
	pr_info("channel291: %u instances in force\n", new->instances);
	return 0;
}

static const struct kernel_param_ops content_ops = { .set = set_content };
module_param_cb(content, &content_ops, NULL, 0200);
MODULE_PARM_DESC(content, "path of the table to put in force");

static int __init start(void)
{
	static char function[] = "security_file_open";
	struct kprobe probe = { .symbol_name = function };
	int error = register_kprobe(&probe);

	/* The kernel tells modules no addresses; the one of a probe it has to. */
	if (error)
		return error;
	original = (void *)probe.addr;
	unregister_kprobe(&probe);
	error = ftrace_set_filter(&hook, function, strlen(function), 0);
	return error ?: register_ftrace_function(&hook);
}

static void __exit stop(void)
{
	unregister_ftrace_function(&hook);
	kvfree(table);
}

module_init(start);
module_exit(stop);
MODULE_LICENSE("Dual BSD/GPL");
MODULE_DESCRIPTION("TEST ONLY: the fault of Channel File 291 in the kernel");
