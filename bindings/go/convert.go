package rediscluster

import (
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"
	"unsafe"
)

// appendCommand appends a command as the servers read it.
func appendCommand(buf []byte, args []any) ([]byte, error) {
	if len(args) == 0 {
		return buf, invalid("an empty command")
	}
	begin := len(buf)
	buf = appendHead(buf, '*', len(args))
	for i, arg := range args {
		var fits bool
		if buf, fits = appendArg(buf, arg); !fits {
			return buf[:begin], unfitting(i, arg)
		}
	}
	return buf, nil
}

func unfitting(i int, arg any) *Error {
	kind := "nil"
	if t := reflect.TypeOf(arg); t != nil {
		kind = t.String()
	}
	return invalid("argument " + strconv.Itoa(i) + " is " + kind + ": give a string, []byte, bool or number")
}

func appendHead(buf []byte, kind byte, n int) []byte {
	buf = append(buf, kind)
	buf = strconv.AppendInt(buf, int64(n), 10)
	return append(buf, '\r', '\n')
}

func appendText(buf []byte, text string) []byte {
	buf = appendHead(buf, '$', len(text))
	buf = append(buf, text...)
	return append(buf, '\r', '\n')
}

// Only types whose text is beyond doubt: a time.Duration, say, is not among them, since commands
// differ in its unit.
func appendArg(buf []byte, arg any) ([]byte, bool) {
	switch arg := arg.(type) {
	case string:
		return appendText(buf, arg), true
	case []byte:
		buf = appendHead(buf, '$', len(arg))
		buf = append(buf, arg...)
		return append(buf, '\r', '\n'), true
	case int:
		return appendInt(buf, int64(arg)), true
	case int64:
		return appendInt(buf, arg), true
	case int32:
		return appendInt(buf, int64(arg)), true
	case int16:
		return appendInt(buf, int64(arg)), true
	case int8:
		return appendInt(buf, int64(arg)), true
	case uint:
		return appendUint(buf, uint64(arg)), true
	case uint64:
		return appendUint(buf, arg), true
	case uint32:
		return appendUint(buf, uint64(arg)), true
	case uint16:
		return appendUint(buf, uint64(arg)), true
	case uint8:
		return appendUint(buf, uint64(arg)), true
	case float64:
		return appendFloat(buf, arg, 64), true
	case float32:
		return appendFloat(buf, float64(arg), 32), true
	case bool:
		if arg {
			return append(buf, "$1\r\n1\r\n"...), true
		}
		return append(buf, "$1\r\n0\r\n"...), true
	}
	return buf, false
}

func appendInt(buf []byte, n int64) []byte {
	var digits [20]byte
	return appendDigits(buf, strconv.AppendInt(digits[:0], n, 10))
}

func appendUint(buf []byte, n uint64) []byte {
	var digits [20]byte
	return appendDigits(buf, strconv.AppendUint(digits[:0], n, 10))
}

func appendFloat(buf []byte, n float64, bits int) []byte {
	var digits [32]byte
	return appendDigits(buf, strconv.AppendFloat(digits[:0], n, 'g', -1, bits))
}

func appendDigits(buf, digits []byte) []byte {
	buf = appendHead(buf, '$', len(digits))
	buf = append(buf, digits...)
	return append(buf, '\r', '\n')
}

// take makes a Value of what a call left in out, and frees that.
func take(o *out) Value {
	if o.reply == 0 {
		text, node := nativeShort(o)
		v := Value{kind: Kind(o.kind), num: int64(o.num), node: name(node)}
		if v.kind == KindError {
			v.err = &Error{Code: Code(o.code), Message: string(text), Node: string(node), Sent: o.sent != 0}
		} else if text != nil {
			v.text = string(text)
		}
		return v
	}
	defer nativeFree(o)
	rows := nativeRows(o)
	if rows == nil {
		return noMemory()
	}
	texts := texts{left: shortTotal(rows, 0)}
	return texts.value(rows, 0)
}

// takeEach makes Values of the elements of a reply that is an array, and frees it. Each has memory
// of its own, if they are for different callers. Any other reply is the result.
func takeEach(o *out, apart bool, each func(i int, v Value)) Value {
	if o.reply == 0 || !Kind(o.kind).hasElements() {
		return take(o)
	}
	defer nativeFree(o)
	rows := nativeRows(o)
	if rows == nil {
		return noMemory()
	}
	shared := texts{left: shortTotal(rows, 0)}
	for i := 0; i < int(rows[0].num); i++ {
		at := int(rows[0].first) + i
		if apart {
			shared = texts{left: shortTotal(rows, at)}
		}
		each(i, shared.value(rows, at))
	}
	return Value{}
}

func noMemory() Value {
	return failed(&Error{Code: ErrInternal, Message: "INTERNAL no memory for the reply", Sent: true})
}

func failed(e *Error) Value { return Value{kind: KindError, err: e} }

// texts copies short texts into blocks, many to an allocation. A block is small enough that one
// text which is kept does not keep much besides.
type texts struct {
	block []byte
	left  int // the bytes of short texts that are still to come
}

const (
	blockSize = 8 << 10
	shortText = 1 << 10
)

// shortTotal is how many bytes the short texts of a value have.
func shortTotal(rows []row, at int) int {
	r := &rows[at]
	n := int(r.num)
	switch kind := Kind(r.kind); {
	case kind.hasText() && kind != KindError && n <= shortText:
		return n
	case kind.hasElements():
		sum := 0
		for i := 0; i < n; i++ {
			sum += shortTotal(rows, int(r.first)+i)
		}
		return sum
	}
	return 0
}

func (t *texts) string(text []byte) string {
	n := len(text)
	if n > shortText {
		return string(text)
	}
	if cap(t.block)-len(t.block) < n {
		size := t.left
		if size > blockSize {
			size = blockSize
		}
		t.block = make([]byte, 0, size)
	}
	begin := len(t.block)
	t.block = append(t.block, text...)
	t.left -= n
	part := t.block[begin:]
	// What is in a block is never written again.
	return *(*string)(unsafe.Pointer(&part))
}

func (t *texts) value(rows []row, at int) Value {
	r := &rows[at]
	v := Value{kind: Kind(r.kind), num: int64(r.num), node: name(nativeNode(r))}
	switch {
	case v.kind == KindError:
		v.err = &Error{
			Code: Code(r.code), Message: string(nativeText(r)), Node: v.Node(), Sent: r.sent != 0,
		}
	case v.kind.hasText():
		v.text = t.string(nativeText(r))
	case v.kind.hasElements():
		v.elements = make([]Value, int(r.num))
		for i := range v.elements {
			v.elements[i] = t.value(rows, int(r.first)+i)
		}
	}
	return v
}

// The names of nodes, each once. They are few; a program that meets very many keeps the first.
var (
	names     atomic.Value // of map[string]*string, never changed
	namesLock sync.Mutex
)

const manyNames = 1000

func name(node []byte) *string {
	if len(node) == 0 {
		return nil
	}
	known, _ := names.Load().(map[string]*string)
	if name, is := known[string(node)]; is {
		return name
	}
	return newName(string(node))
}

func newName(node string) *string {
	namesLock.Lock()
	defer namesLock.Unlock()
	known, _ := names.Load().(map[string]*string)
	if name, is := known[node]; is {
		return name
	}
	if len(known) >= manyNames {
		return &node
	}
	more := make(map[string]*string, len(known)+1)
	for text, name := range known {
		more[text] = name
	}
	more[node] = &node
	names.Store(more)
	return &node
}
