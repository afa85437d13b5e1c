/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
//go:build ignore

/*
 * The auditor's event sources. raw_tp, as in watch.h: no trampoline is needed,
 * it attaches by name alone, and it is the same from 5.10 on. fexit, where there
 * are trampolines.
 */

#include "kernel_audit.h"
#include "target.h"
#include "event.h"
#include "lookup.h"
#include "emit_event.h"
#include "hooks.h"
#include "trampolines.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
