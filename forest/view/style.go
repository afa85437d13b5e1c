// SPDX-License-Identifier: Apache-2.0

package view

// Options say how Tree and Table look.
type Options struct {
	// Color marks what is what by SGR escapes. Only for a terminal.
	Color bool
}

// paint is the SGR sequence of a kind of text.
type paint string

const (
	plain  paint = ""
	bold   paint = "\x1b[1m"
	dim    paint = "\x1b[2m"
	dead   paint = "\x1b[31m" // zombies and dead leaders
	ghosts paint = "\x1b[33m"
	space  paint = "\x1b[34m" // namespaces
	thread paint = "\x1b[36m"
)

// text is s as it is shown.
func (o Options) text(p paint, s string) string {
	if !o.Color || p == plain || s == "" {
		return s
	}
	return string(p) + s + "\x1b[0m"
}
