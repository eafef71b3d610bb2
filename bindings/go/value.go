package rediscluster

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unsafe"
)

// Kind is the type of a [Value].
type Kind int32

var kindNames = map[Kind]string{
	KindString: "STRING", KindArray: "ARRAY", KindInteger: "INTEGER", KindNil: "NIL", KindStatus: "STATUS",
	KindError: "ERROR", KindDouble: "DOUBLE", KindBool: "BOOL", KindMap: "MAP", KindSet: "SET",
	KindPush: "PUSH", KindBigNum: "BIGNUM", KindVerbatim: "VERBATIM",
}

// kindEncoded is the internal kind of an aggregate that is encoded: see [Encoded].
const kindEncoded Kind = -2

// String returns the name of the kind: "ARRAY".
func (k Kind) String() string {
	if name, ok := kindNames[k]; ok {
		return name
	}
	return "Kind(" + strconv.Itoa(int(k)) + ")"
}

func (k Kind) hasText() bool {
	switch k {
	case KindString, KindStatus, KindDouble, KindBigNum, KindVerbatim:
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

// Value is a decoded reply. Its methods return the error of an error reply, and [Nil] for a nil
// reply, so that a value can be read without testing its kind first:
//
//	name, err := replies[2].Text()
//
// The zero Value is nil. Any number of goroutines may read a Value. Short strings of one reply share
// memory: to keep one of many for long, keep its strings.Clone.
type Value struct {
	kind Kind
	num  int64          // an integer, a bool, the length of the text, or the number of elements
	data unsafe.Pointer // the bytes of a text, the first element, or the *Error
	node *string
}

// A Value has 32 bytes and no field that only some kinds need: the garbage collector visits every
// value of a large reply, and takes as much time for it as the rest of a pipeline.

// textData returns the data of a value for its text, which must not change from then on.
func textData(text []byte) unsafe.Pointer {
	if len(text) == 0 {
		return nil
	}
	return unsafe.Pointer(&text[0])
}

func errorValue(e *Error) Value { return Value{kind: KindError, data: unsafe.Pointer(e)} }

func (v Value) text() string {
	bytes := unsafe.Slice((*byte)(v.data), int(v.num))
	// The bytes of a value are never written again, so the string is immutable.
	return *(*string)(unsafe.Pointer(&bytes))
}

func (v Value) elements() []Value { return unsafe.Slice((*Value)(v.data), int(v.num)) }

// err returns the error of an error reply, and nil for any other reply.
func (v Value) err() *Error {
	if v.kind != KindError {
		return nil
	}
	return (*Error)(v.data)
}

// Kind returns the type of the reply.
func (v Value) Kind() Kind {
	switch v.kind {
	case 0:
		return KindNil
	case kindEncoded:
		return map[byte]Kind{'%': KindMap, '~': KindSet, '>': KindPush, '*': KindArray}[v.text()[0]]
	}
	return v.kind
}

// IsNil reports whether the reply is nil.
func (v Value) IsNil() bool { return v.Kind() == KindNil }

// Err returns the [*Error] of an error reply, and nil for any other reply, also for a nil reply.
func (v Value) Err() error {
	if e := v.err(); e != nil {
		return e
	}
	return nil
}

// Node returns the "host:port" of the node that sent the reply. It is "" for the merged reply of
// several nodes, and for an element of a reply, unless the element is a reply of a pipeline.
func (v Value) Node() string {
	if v.node == nil {
		return ""
	}
	return *v.node
}

// typeError is the error of a value that cannot be read as the wanted type.
func (v Value) typeError(wanted string) error {
	switch {
	case v.kind == KindError:
		return v.err()
	case v.IsNil():
		return Nil
	}
	if v.kind == kindEncoded {
		return fmt.Errorf("rediscluster: the reply to an encoded command has no values; use AppendRESP, or Do with arguments")
	}
	return fmt.Errorf("rediscluster: the reply is of type %s, not %s", v.Kind(), wanted)
}

// Text returns the text of a string, status, double, big number or verbatim reply, and an integer in
// decimal.
func (v Value) Text() (string, error) {
	switch {
	case v.kind.hasText():
		return v.text(), nil
	case v.kind == KindInteger:
		return strconv.FormatInt(v.num, 10), nil
	}
	return "", v.typeError("text")
}

// Bytes returns a copy of Text as bytes.
func (v Value) Bytes() ([]byte, error) {
	text, err := v.Text()
	if err != nil {
		return nil, err
	}
	return []byte(text), nil
}

// Int returns an integer, or the integer that a text represents; a bool is 0 or 1.
func (v Value) Int() (int64, error) {
	switch {
	case v.kind == KindInteger || v.kind == KindBool:
		return v.num, nil
	case v.kind.hasText():
		if n, err := strconv.ParseInt(v.text(), 10, 64); err == nil {
			return n, nil
		}
	}
	return 0, v.typeError("an integer")
}

// Float returns a number, or the number that a text represents.
func (v Value) Float() (float64, error) {
	switch {
	case v.kind == KindInteger:
		return float64(v.num), nil
	case v.kind.hasText():
		if n, err := strconv.ParseFloat(v.text(), 64); err == nil {
			return n, nil
		}
		if v.kind == KindDouble { // "nan(0x7)", of the C library of the server
			return math.NaN(), nil
		}
	}
	return 0, v.typeError("a number")
}

// Bool returns a bool; the integers 0 and 1 are bools too.
func (v Value) Bool() (bool, error) {
	if (v.kind == KindBool || v.kind == KindInteger) && (v.num == 0 || v.num == 1) {
		return v.num == 1, nil
	}
	return false, v.typeError("a bool")
}

// Slice returns the elements of an array, set or push, and those of a map as key, value, key, value.
// The slice is shared with the value: do not change it.
func (v Value) Slice() ([]Value, error) {
	if v.kind.hasElements() {
		return v.elements(), nil
	}
	return nil, v.typeError("an aggregate")
}

// Map returns a map by the text of its keys. An array of keys and values, which is the form of a map
// in RESP2, is accepted too.
func (v Value) Map() (map[string]Value, error) {
	if !v.kind.hasElements() || v.num%2 != 0 {
		return nil, v.typeError("a map")
	}
	elements := v.elements()
	all := make(map[string]Value, len(elements)/2)
	for i := 0; i < len(elements); i += 2 {
		key, err := elements[i].Text()
		if err != nil {
			return nil, v.typeError("a map with text keys")
		}
		all[key] = elements[i+1]
	}
	return all, nil
}

// String formats the reply for display: "text", (nil), [elements].
func (v Value) String() string {
	switch {
	case v.kind == KindError:
		return "(error) " + v.err().Message
	case v.kind == KindString || v.kind == KindVerbatim:
		return strconv.Quote(v.text())
	case v.kind.hasText() || v.kind == kindEncoded:
		return v.text()
	case v.kind == KindInteger:
		return strconv.FormatInt(v.num, 10)
	case v.kind == KindBool:
		return strconv.FormatBool(v.num != 0)
	case v.kind.hasElements():
		elements := v.elements()
		texts := make([]string, len(elements))
		for i, element := range elements {
			texts[i] = element.String()
		}
		return "[" + strings.Join(texts, " ") + "]"
	}
	return "(nil)"
}
