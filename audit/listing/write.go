// SPDX-License-Identifier: Apache-2.0

package listing

import (
	"bufio"
	"encoding/json"
	"io"
	"strings"
	"unicode/utf8"
)

// Schema names the form that JSON writes: docs/schema/ps.v1.json.
const Schema = "pidgraft.ps.v1"

// JSON writes rows.
func JSON(w io.Writer, rows []Row) error {
	b := bufio.NewWriter(w)
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if rows == nil {
		rows = []Row{}
	}
	if err := e.Encode(struct {
		Schema  string `json:"schema"`
		Objects []Row  `json:"objects"`
	}{Schema, rows}); err != nil {
		return err
	}
	return b.Flush()
}

// Table writes rows under the names of columns. Numbers begin with that of the
// namespace at level from, the reader's own.
func Table(w io.Writer, rows []Row, columns []string, from int) error {
	cells := make([][]string, len(rows)+1)
	shown := make([]*Column, len(columns))
	width := make([]int, len(columns))
	for i, name := range columns {
		c, err := Find(name)
		if err != nil {
			return err
		}
		shown[i] = c
		cells[0] = append(cells[0], strings.ToUpper(name))
		for r := range rows {
			cells[r+1] = append(cells[r+1], c.cell(&rows[r], from))
		}
		for _, row := range cells {
			width[i] = max(width[i], utf8.RuneCountInString(row[i]))
		}
	}
	b := bufio.NewWriter(w)
	for _, row := range cells {
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			switch {
			case shown[i].right:
				b.WriteString(pad + cell)
			case i == len(row)-1:
				b.WriteString(cell)
			default:
				b.WriteString(cell + pad)
			}
			if i < len(row)-1 {
				b.WriteString("  ")
			}
		}
		b.WriteByte('\n')
	}
	return b.Flush()
}
