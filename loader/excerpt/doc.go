// SPDX-License-Identifier: Apache-2.0

// Package excerpt cuts the few types that a BPF object names out of the BTF of
// a kernel, which describes more than a hundred thousand.
//
// Contract: pure. The BTF of a kernel and the names of types and members go in;
// out comes BTF that a CO-RE relocation of field offsets, field existence and
// sizes of those types gives the same results with, in one reading of the whole
// that makes no object of what is not wanted. Numbers of types are others, so it
// is of no use for relocations of type ids. Whatever looks odd is an error: the
// caller then takes the whole. The format is that of include/uapi/linux/btf.h.
package excerpt
