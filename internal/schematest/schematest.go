// SPDX-License-Identifier: Apache-2.0

// Package schematest holds JSON documents against their schemas, in tests.
package schematest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// compiled are the schemas that were read, by their files: to read one takes
// longer than to hold a document against it.
var (
	mu       sync.Mutex
	compiled = map[string]*jsonschema.Schema{}
)

// Check is what is wrong with the JSON text doc by the schema in file, which may refer
// to those in others; the error says that one of them cannot be read.
func Check(file string, doc []byte, others ...string) ([]string, error) {
	schema, err := read(file, others)
	if err != nil {
		return nil, err
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		return nil, err
	}
	var wrong *jsonschema.ValidationError
	if errors.As(schema.Validate(v), &wrong) {
		return faults(wrong), nil
	}
	return nil, nil
}

func read(file string, others []string) (*jsonschema.Schema, error) {
	mu.Lock()
	defer mu.Unlock()
	key := strings.Join(append([]string{file}, others...), "\x00")
	if schema, ok := compiled[key]; ok {
		return schema, nil
	}
	c := jsonschema.NewCompiler()
	for _, other := range others {
		text, err := os.ReadFile(other)
		if err != nil {
			return nil, err
		}
		schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", other, err)
		}
		object, _ := schema.(map[string]any)
		id, _ := object["$id"].(string)
		if err := c.AddResource(id, schema); err != nil {
			return nil, fmt.Errorf("%s: %w", other, err)
		}
	}
	schema, err := c.Compile(file)
	if err != nil {
		return nil, err
	}
	compiled[key] = schema
	return schema, nil
}

// faults are the ends of a tree of errors.
func faults(e *jsonschema.ValidationError) []string {
	if len(e.Causes) == 0 {
		what := e.ErrorKind.LocalizedString(message.NewPrinter(language.English))
		return []string{"$/" + strings.Join(e.InstanceLocation, "/") + ": " + what}
	}
	var all []string
	for _, cause := range e.Causes {
		all = append(all, faults(cause)...)
	}
	return all
}
