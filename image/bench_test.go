// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
)

var sizes = []int{20_000, 100_000}

func BenchmarkWrite(b *testing.B) {
	for _, n := range sizes {
		f := foresttest.Wide(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(len(encode(b, f))))
			b.ReportAllocs()
			for b.Loop() {
				if err := Write(io.Discard, f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkEncode is Write without its validation.
func BenchmarkEncode(b *testing.B) {
	for _, n := range sizes {
		f := foresttest.Wide(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(len(encode(b, f))))
			b.ReportAllocs()
			for b.Loop() {
				e := newEncoder(io.Discard)
				e.image(f)
				if err := e.close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	for _, n := range sizes {
		image := encode(b, foresttest.Wide(n))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(len(image)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Read(bytes.NewReader(image)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkValidate(b *testing.B) {
	for _, n := range sizes {
		f := foresttest.Wide(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := forest.Validate(f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
