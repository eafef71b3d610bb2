package rediscluster

import (
	"fmt"
	"strconv"
	"strings"
)

// Kind is the type of a [Value].
type Kind int32

var kindNames = map[Kind]string{
	KindString: "STRING", KindArray: "ARRAY", KindInteger: "INTEGER", KindNil: "NIL", KindStatus: "STATUS",
	KindError: "ERROR", KindDouble: "DOUBLE", KindBool: "BOOL", KindMap: "MAP", KindSet: "SET",
	KindPush: "PUSH", KindBigNum: "BIGNUM", KindVerbatim: "VERBATIM",
}

// String is the kind's name: "ARRAY".
func (k Kind) String() string {
	if name, known := kindNames[k]; known {
		return name
	}
	return "Kind(" + strconv.Itoa(int(k)) + ")"
}

func (k Kind) hasText() bool {
	switch k {
	case KindString, KindStatus, KindError, KindDouble, KindBigNum, KindVerbatim:
		return true
	}
	return false
}

func (k Kind) hasElements() bool {
	switch k {
	case KindArray, KindMap, KindSet, KindPush:
		return true
	}
	return false
}

// Value is a decoded reply. Its methods give the error of a reply that is one, and [Nil] for one
// that is nil, so that a value can be read without looking at its kind first:
//
//	name, err := replies[2].Text()
//
// The zero Value is nil. Values may be read by any number of goroutines. Short texts of one reply
// share memory: to keep one of many for long, keep strings.Clone of it.
type Value struct {
	kind     Kind
	num      int64
	text     string
	elements []Value
	node     *string
	err      *Error
}

// Kind is the type of the reply.
func (v Value) Kind() Kind {
	if v.kind == 0 {
		return KindNil
	}
	return v.kind
}

// IsNil says whether there is no value.
func (v Value) IsNil() bool { return v.Kind() == KindNil }

// Err is the error, an [*Error], of a reply that is one; else nil, also for a nil reply.
func (v Value) Err() error {
	if v.err != nil {
		return v.err
	}
	return nil
}

// Node is the "host:port" of the node that answered; "" for several nodes together and for what is
// inside other replies than a pipeline's.
func (v Value) Node() string {
	if v.node == nil {
		return ""
	}
	return *v.node
}

func (v Value) unfit(wanted string) error {
	switch {
	case v.err != nil:
		return v.err
	case v.IsNil():
		return Nil
	}
	return fmt.Errorf("rediscluster: %s is not %s", v.Kind(), wanted)
}

// Text is the reply as text: what a string, status, double, big number or verbatim reply says, and
// an integer in decimal.
func (v Value) Text() (string, error) {
	switch {
	case v.err == nil && v.kind.hasText():
		return v.text, nil
	case v.kind == KindInteger:
		return strconv.FormatInt(v.num, 10), nil
	}
	return "", v.unfit("text")
}

// Bytes is Text as bytes, the caller's own.
func (v Value) Bytes() ([]byte, error) {
	text, err := v.Text()
	if err != nil {
		return nil, err
	}
	return []byte(text), nil
}

// Int is an integer, also one that a text spells; a bool is 0 or 1.
func (v Value) Int() (int64, error) {
	switch {
	case v.kind == KindInteger || v.kind == KindBool:
		return v.num, nil
	case v.err == nil && v.kind.hasText():
		if n, err := strconv.ParseInt(v.text, 10, 64); err == nil {
			return n, nil
		}
	}
	return 0, v.unfit("an integer")
}

// Float is a number, also one that a text spells.
func (v Value) Float() (float64, error) {
	switch {
	case v.kind == KindInteger:
		return float64(v.num), nil
	case v.err == nil && v.kind.hasText():
		if n, err := strconv.ParseFloat(v.text, 64); err == nil {
			return n, nil
		}
	}
	return 0, v.unfit("a number")
}

// Bool is a bool, or an integer that is 0 or 1.
func (v Value) Bool() (bool, error) {
	if (v.kind == KindBool || v.kind == KindInteger) && (v.num == 0 || v.num == 1) {
		return v.num == 1, nil
	}
	return false, v.unfit("a bool")
}

// Slice is the elements of an array, set or push; of a map: key, value, key, value. They belong to
// the value.
func (v Value) Slice() ([]Value, error) {
	if v.kind.hasElements() {
		return v.elements, nil
	}
	return nil, v.unfit("an aggregate")
}

// Map is a map by the text of its keys; also an array of keys and values, which is what RESP2 makes
// of maps.
func (v Value) Map() (map[string]Value, error) {
	if !v.kind.hasElements() || len(v.elements)%2 != 0 {
		return nil, v.unfit("a map")
	}
	all := make(map[string]Value, len(v.elements)/2)
	for i := 0; i < len(v.elements); i += 2 {
		key, err := v.elements[i].Text()
		if err != nil {
			return nil, v.unfit("a map with text for keys")
		}
		all[key] = v.elements[i+1]
	}
	return all, nil
}

// String is the reply for people to read: texts in quotes, (nil), [elements].
func (v Value) String() string {
	switch {
	case v.err != nil:
		return "(error) " + v.err.Message
	case v.kind == KindString || v.kind == KindVerbatim:
		return strconv.Quote(v.text)
	case v.kind.hasText():
		return v.text
	case v.kind == KindInteger:
		return strconv.FormatInt(v.num, 10)
	case v.kind == KindBool:
		return strconv.FormatBool(v.num != 0)
	case v.kind.hasElements():
		words := make([]string, len(v.elements))
		for i, element := range v.elements {
			words[i] = element.String()
		}
		return "[" + strings.Join(words, " ") + "]"
	}
	return "(nil)"
}
