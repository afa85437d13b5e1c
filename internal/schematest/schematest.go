// SPDX-License-Identifier: Apache-2.0

// Package schematest holds JSON documents against the schemas in docs/schema,
// in tests.
//
// Contract: Check knows the part of JSON Schema that these schemas use, and
// refuses a schema with keywords that it does not know.
package schematest

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
)

// Check is what is wrong with the JSON text doc by the schema in file; the
// error says that one of the two is no JSON.
func Check(file string, doc []byte) ([]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var root map[string]any
	if err := json.Unmarshal(text, &root); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var v any
	if err := json.Unmarshal(doc, &v); err != nil {
		return nil, err
	}
	return check(root, root, v, "$"), nil
}

func check(root, schema map[string]any, v any, at string) []string {
	var errs []string
	fail := func(format string, args ...any) { errs = append(errs, at+": "+fmt.Sprintf(format, args...)) }
	num, isNum := v.(float64)
	object, _ := v.(map[string]any)
	array, isArray := v.([]any)
	for key, want := range schema {
		switch key {
		case "$schema", "$id", "title", "description", "$defs":
		case "$ref":
			name := strings.TrimPrefix(want.(string), "#/$defs/")
			errs = append(errs, check(root, root["$defs"].(map[string]any)[name].(map[string]any), v, at)...)
		case "type":
			types, ok := want.([]any)
			if !ok {
				types = []any{want}
			}
			if !slices.Contains(types, any(typeOf(v))) {
				fail("%v, want %v", v, want)
			}
		case "const":
			if v != want {
				fail("%v, want %v", v, want)
			}
		case "enum":
			if !slices.Contains(want.([]any), v) {
				fail("%v, want one of %v", v, want)
			}
		case "minimum":
			if isNum && num < want.(float64) {
				fail("%v < %v", num, want)
			}
		case "maximum":
			if isNum && num > want.(float64) {
				fail("%v > %v", num, want)
			}
		case "maxLength":
			if s, ok := v.(string); ok && len(s) > int(want.(float64)) {
				fail("%q is too long", s)
			}
		case "minItems":
			if isArray && len(array) < int(want.(float64)) {
				fail("%d items", len(array))
			}
		case "items":
			for i := range array {
				errs = append(errs, check(root, want.(map[string]any), array[i], fmt.Sprintf("%s[%d]", at, i))...)
			}
		case "required":
			for _, name := range want.([]any) {
				if _, ok := object[name.(string)]; !ok {
					fail("%v is missing", name)
				}
			}
		case "properties":
			for name, sub := range want.(map[string]any) {
				if member, ok := object[name]; ok {
					errs = append(errs, check(root, sub.(map[string]any), member, at+"."+name)...)
				}
			}
		case "additionalProperties":
			for name := range object {
				if _, ok := schema["properties"].(map[string]any)[name]; !ok {
					fail("%v is not in the schema", name)
				}
			}
		default:
			fail("the schema uses %s, which this test cannot check", key)
		}
	}
	return errs
}

func typeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if v == math.Trunc(v) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	}
	return "object"
}
