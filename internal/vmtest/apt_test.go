// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

func TestStanzaField(t *testing.T) {
	stanza := "Types: deb\n# URIs: no\nURIs:  http://mirror/debian \nSuites: bookworm bookworm-updates\n"
	for name, want := range map[string]string{
		"URIs": "http://mirror/debian", "Suites": "bookworm bookworm-updates", "Signed-By": "",
	} {
		if got := stanzaField(stanza, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// The matrix is what the documentation says, and a wrong name is no empty one.
func TestChoose(t *testing.T) {
	if all, err := choose(""); err != nil || len(all) != 6 {
		t.Errorf("%d kernels, %v", len(all), err)
	}
	if one, err := choose("6.12-arm64"); err != nil || len(one) != 1 || one[0].arch != "arm64" {
		t.Errorf("%v, %v", one, err)
	}
	if two, err := choose("newest,5.10"); err != nil || len(two) != 2 || two[1].name != "5.10" {
		t.Errorf("%v, %v", two, err)
	}
	if some, err := choose("6"); err == nil {
		t.Errorf("KERNEL=6 is %v", some)
	}
}
