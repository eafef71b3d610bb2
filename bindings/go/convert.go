package rediscluster

import (
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"
	"unsafe"
)

// appendCommand appends a command encoded as RESP.
func appendCommand(buf []byte, args []any) ([]byte, error) {
	if len(args) == 0 {
		return buf, invalid("the command is empty; pass at least its name")
	}
	if encoded, ok := args[0].(Encoded); ok && len(args) == 1 {
		if encoded.count() != 1 {
			return buf, invalid("the encoded command is not exactly one command; see Encoded")
		}
		return append(buf, encoded...), nil
	}
	begin := len(buf)
	buf = appendHeader(buf, '*', len(args))
	for i, arg := range args {
		var ok bool
		if buf, ok = appendArg(buf, arg); !ok {
			return buf[:begin], badArgument(i, arg)
		}
	}
	return buf, nil
}

func badArgument(i int, arg any) *Error {
	kind := "nil"
	if t := reflect.TypeOf(arg); t != nil {
		kind = t.String()
	}
	return invalid("argument " + strconv.Itoa(i) + " has type " + kind + "; pass a string, []byte, bool or number")
}

func appendHeader(buf []byte, kind byte, n int) []byte {
	if n < 10 {
		return append(buf, kind, byte('0'+n), '\r', '\n')
	}
	buf = append(buf, kind)
	buf = strconv.AppendInt(buf, int64(n), 10)
	return append(buf, '\r', '\n')
}

func appendText(buf []byte, text string) []byte {
	buf = appendHeader(buf, '$', len(text))
	buf = append(buf, text...)
	return append(buf, '\r', '\n')
}

// appendArg appends an argument, and reports false for a type that it does not encode. It encodes
// only types with one obvious text: a time.Duration is refused, because commands differ in its unit.
func appendArg(buf []byte, arg any) ([]byte, bool) {
	switch arg := arg.(type) {
	case string:
		return appendText(buf, arg), true
	case []byte:
		buf = appendHeader(buf, '$', len(arg))
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
	buf = appendHeader(buf, '$', len(digits))
	buf = append(buf, digits...)
	return append(buf, '\r', '\n')
}

// takeValue decodes the reply in out and frees it. If it is an aggregate and encoded is true, it becomes an
// encoded value instead of one for each element.
func takeValue(o *out, encoded bool) Value {
	if o.reply == 0 {
		text, node := nativeShort(o)
		v := Value{kind: Kind(o.kind), num: int64(o.num), node: internNode(node)}
		if v.kind == KindError {
			v.data = unsafe.Pointer(&Error{Code: Code(o.code), Message: string(text), Node: string(node), Sent: o.sent != 0})
		} else if text != nil {
			v.data = textData(append([]byte(nil), text...))
		}
		return v
	}
	defer nativeFree(o)
	rows := nativeRows(o)
	if rows == nil {
		return outOfMemory()
	}
	d := decoder{rows: rows, encoded: encoded}
	d.arena.remaining = d.shortTextBytes(0)
	return d.value(0)
}

// takeReplies decodes the elements of an array reply and frees the reply. Any other reply is returned
// as a whole.
func takeReplies(o *out, encoded bool) (replies []Value, whole Value) {
	if o.reply == 0 || !Kind(o.kind).hasElements() {
		return nil, takeValue(o, encoded)
	}
	defer nativeFree(o)
	rows := nativeRows(o)
	if rows == nil {
		return nil, outOfMemory()
	}
	d := decoder{rows: rows, encoded: encoded}
	for i := 0; i < int(rows[0].num); i++ {
		d.arena.remaining += d.shortTextBytes(int(rows[0].first) + i)
	}
	return d.elements(0), Value{}
}

// takeEach is takeReplies for replies that go to different callers: it passes each to a function, and
// they share no memory.
func takeEach(o *out, encoded func(i int) bool, each func(i int, v Value)) (whole Value) {
	if o.reply == 0 || !Kind(o.kind).hasElements() {
		return takeValue(o, false)
	}
	defer nativeFree(o)
	rows := nativeRows(o)
	if rows == nil {
		return outOfMemory()
	}
	d := decoder{rows: rows}
	for i := 0; i < int(rows[0].num); i++ {
		at := int(rows[0].first) + i
		d.encoded = encoded(i)
		d.arena = stringArena{remaining: d.shortTextBytes(at)}
		each(i, d.value(at))
	}
	return Value{}
}

func outOfMemory() Value {
	return errorValue(&Error{Code: ErrInternal, Message: "INTERNAL out of memory while decoding the reply", Sent: true})
}

// stringArena copies short strings into shared blocks, to save allocations. Blocks are small, because
// one string that the caller keeps holds its whole block in memory.
type stringArena struct {
	block     []byte
	remaining int // the bytes of short strings that are not copied yet
}

const (
	blockSize    = 8 << 10
	maxShortText = 1 << 10
)

// copy returns a copy of a text.
func (a *stringArena) copy(text []byte) []byte {
	n := len(text)
	if n > maxShortText {
		return append([]byte(nil), text...)
	}
	if cap(a.block)-len(a.block) < n {
		size := a.remaining
		if size > blockSize {
			size = blockSize
		}
		a.block = make([]byte, 0, size)
	}
	begin := len(a.block)
	a.block = append(a.block, text...)
	a.remaining -= n
	return a.block[begin:]
}

// decoder decodes the rows of a reply.
type decoder struct {
	rows    []row
	encoded bool // aggregates become encoded values
	arena   stringArena
	// The nodes that were looked up last, by address. The replies of one node have the same address.
	nodes [64]struct {
		address uintptr
		name    *string
	}
}

// shortTextBytes returns the total length of the short strings in a value.
func (d *decoder) shortTextBytes(at int) int {
	r := &d.rows[at]
	n := int(r.num)
	switch kind := Kind(r.kind); {
	case kind.hasText() && n <= maxShortText:
		return n
	case kind.hasElements() && !d.encoded:
		sum := 0
		for i := 0; i < n; i++ {
			sum += d.shortTextBytes(int(r.first) + i)
		}
		return sum
	}
	return 0
}

func (d *decoder) value(at int) Value {
	r := &d.rows[at]
	v := Value{kind: Kind(r.kind), num: int64(r.num), node: d.node(r)}
	switch {
	case v.kind == KindError:
		v.data = unsafe.Pointer(&Error{
			Code: Code(r.code), Message: string(nativeText(r)), Node: v.Node(), Sent: r.sent != 0,
		})
	case v.kind.hasText():
		v.data = textData(d.arena.copy(nativeText(r)))
	case v.kind.hasElements() && d.encoded:
		text := d.appendRESP(nil, at)
		v.kind, v.num, v.data = kindEncoded, int64(len(text)), textData(text)
	case v.kind.hasElements() && v.num > 0:
		v.data = unsafe.Pointer(&d.elements(at)[0])
	}
	return v
}

func (d *decoder) elements(at int) []Value {
	r := &d.rows[at]
	elements := make([]Value, int(r.num))
	for i := range elements {
		elements[i] = d.value(int(r.first) + i)
	}
	return elements
}

func (d *decoder) node(r *row) *string {
	if r.node == nil {
		return nil
	}
	address := uintptr(unsafe.Pointer(r.node))
	known := &d.nodes[address/16%uintptr(len(d.nodes))]
	if known.address != address {
		known.address, known.name = address, internNode(nativeNode(r))
	}
	return known.name
}

// The interned "host:port" of nodes. Beyond maxNodeNames, names are not interned.
var (
	nodeNames     atomic.Value // of map[string]*string, copied on write
	nodeNamesLock sync.Mutex
)

const maxNodeNames = 1000

func internNode(node []byte) *string {
	if len(node) == 0 {
		return nil
	}
	known, _ := nodeNames.Load().(map[string]*string)
	if name, ok := known[string(node)]; ok {
		return name
	}
	return addNode(string(node))
}

func addNode(node string) *string {
	nodeNamesLock.Lock()
	defer nodeNamesLock.Unlock()
	known, _ := nodeNames.Load().(map[string]*string)
	if name, ok := known[node]; ok {
		return name
	}
	if len(known) >= maxNodeNames {
		return &node
	}
	grown := make(map[string]*string, len(known)+1)
	for text, name := range known {
		grown[text] = name
	}
	grown[node] = &node
	nodeNames.Store(grown)
	return &node
}
