// SPDX-License-Identifier: Apache-2.0

package forest

// pids checks each pid object by itself.
func (v *validator) pids() *Invalid {
	f := v.f
	v.seen = make([]int32, len(f.Namespaces))
	for i := range f.Pids {
		p, tag := &f.Pids[i], Tag(i+1)
		if p.Namespace < 0 || p.Namespace >= len(f.Namespaces) {
			return v.pid(RuleNumbers, tag, "its namespace, index %d, is not in the forest", p.Namespace)
		}
		ns := p.Namespace
		if own := f.Namespaces[ns].Level; len(p.Numbers) != own+1 {
			return v.pid(RuleNumbers, tag, "it has %d numbers and lives at level %d", len(p.Numbers), own)
		}
		for l := len(p.Numbers) - 1; l >= 0; l-- {
			n := p.Numbers[l]
			if n < 1 || n > MaxNumber {
				return v.pid(RuleNumbers, tag, "its number at level %d is %d", l, n)
			}
			if n == 1 && ns != p.Namespace {
				return v.pid(RuleInit, tag, "it is number 1 at level %d and lives at level %d", l, p.Depth())
			}
			v.seen[ns]++
			ns = f.Namespaces[ns].Parent
		}
	}
	v.inits = inits(f)
	return nil
}

// twice looks for a number that two objects have in one namespace, by sorting
// all pairs of namespace and number: linear, and no input makes it slow.
func (v *validator) twice() *Invalid {
	f := v.f
	claims := make([]uint64, 0, len(f.Pids)+f.NrVpids())
	for i := range f.Pids {
		ns := f.Pids[i].Namespace
		for l := len(f.Pids[i].Numbers) - 1; l >= 0; l-- {
			claims = append(claims, uint64(ns)<<32|uint64(f.Pids[i].Numbers[l]))
			ns = f.Namespaces[ns].Parent
		}
	}
	claims = radixSort(claims)
	for i := 1; i < len(claims); i++ {
		if claims[i] == claims[i-1] {
			return v.nameTwice(int(claims[i]>>32), int32(uint32(claims[i])))
		}
	}
	return nil
}

// nameTwice finds the two objects that are number in namespace ns.
func (v *validator) nameTwice(ns int, number int32) *Invalid {
	first := Tag(0)
	for i := range v.f.Pids {
		tag := Tag(i + 1)
		if v.f.NumberIn(tag, ns) != number {
			continue
		}
		if first != 0 {
			return v.pid(RuleTwice, tag, "it is number %d at level %d, and so is pid object %v (%s)",
				number, v.f.Namespaces[ns].Level, first, v.f.TagName(first))
		}
		first = tag
	}
	return v.namespace(RuleTwice, ns, "number %d is there twice", number)
}

// radixSort sorts keys by 11 bits at a time and returns them, in their own or
// in another slice.
func radixSort(keys []uint64) []uint64 {
	const bits = 11
	var all uint64
	for _, k := range keys {
		all |= k
	}
	other := make([]uint64, len(keys))
	for shift := uint(0); shift < 64 && all>>shift != 0; shift += bits {
		if all>>shift&(1<<bits-1) == 0 {
			continue
		}
		var at [1 << bits]int32
		for _, k := range keys {
			at[k>>shift&(1<<bits-1)]++
		}
		sum := int32(0)
		for i, n := range at {
			at[i], sum = sum, sum+n
		}
		for _, k := range keys {
			d := k >> shift & (1<<bits - 1)
			other[at[d]] = k
			at[d]++
		}
		keys, other = other, keys
	}
	return keys
}
