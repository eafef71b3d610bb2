package rediscluster

// The methods of Value that decode the replies of single commands.

// each calls f for each element of an aggregate.
func (v Value) each(f func(i int, element Value) error) error {
	elements, err := v.Slice()
	for i := 0; err == nil && i < len(elements); i++ {
		err = f(i, elements[i])
	}
	return err
}

// list decodes an array or a set.
func list[T any](v Value, decode func(Value) (T, error)) ([]T, error) {
	elements, err := v.Slice()
	if err != nil {
		return nil, err
	}
	all := make([]T, len(elements))
	for i, element := range elements {
		if all[i], err = decode(element); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// mapOf decodes the values of a map.
func mapOf[T any](v Value, decode func(Value) (T, error)) (map[string]T, error) {
	values, err := v.Map()
	if err != nil {
		return nil, err
	}
	all := make(map[string]T, len(values))
	for key, value := range values {
		if all[key], err = decode(value); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// tuple returns the elements of an array of a fixed length.
func (v Value) tuple(n int) ([]Value, error) {
	elements, err := v.Slice()
	if err == nil && len(elements) != n {
		err = v.typeError("an array of " + string(rune('0'+n)))
	}
	return elements, err
}

// Texts returns the texts of an array or a set. None of them may be nil.
func (v Value) Texts() ([]string, error) { return list(v, Value.Text) }

// Ints returns the integers of an array.
func (v Value) Ints() ([]int64, error) { return list(v, Value.Int) }

// Floats returns the numbers of an array.
func (v Value) Floats() ([]float64, error) { return list(v, Value.Float) }

// Bools returns the bools of an array.
func (v Value) Bools() ([]bool, error) { return list(v, Value.Bool) }

// TextMap returns a map whose values are texts too.
func (v Value) TextMap() (map[string]string, error) { return mapOf(v, Value.Text) }

// IntMap returns a map whose values are integers.
func (v Value) IntMap() (map[string]int64, error) { return mapOf(v, Value.Int) }

// Maps returns the maps of an array.
func (v Value) Maps() ([]map[string]Value, error) { return list(v, Value.Map) }

// Scored is a member of a sorted set with its score.
type Scored struct {
	Member string
	Score  float64
}

// Scored returns members with their scores: an array of pairs, or one of members and scores that alternate,
// which is its form in RESP2.
func (v Value) Scored() ([]Scored, error) {
	elements, err := v.Slice()
	if err != nil {
		return nil, err
	}
	if len(elements) > 0 && elements[0].kind.hasElements() {
		return list(v, scoredPair)
	}
	if len(elements)%2 != 0 {
		return nil, v.typeError("members and scores")
	}
	all := make([]Scored, len(elements)/2)
	for i := range all {
		if all[i], err = scored(elements[2*i], elements[2*i+1]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func scoredPair(v Value) (Scored, error) {
	pair, err := v.tuple(2)
	if err != nil {
		return Scored{}, err
	}
	return scored(pair[0], pair[1])
}

func scored(member, score Value) (s Scored, err error) {
	if s.Member, err = member.Text(); err == nil {
		s.Score, err = score.Float()
	}
	return s, err
}

// StreamEntry is one message of a stream.
type StreamEntry struct {
	ID     string
	Fields map[string]string // nil for a message that was deleted
}

// StreamEntries returns the messages of a stream.
func (v Value) StreamEntries() ([]StreamEntry, error) { return list(v, streamEntry) }

func streamEntry(v Value) (e StreamEntry, err error) {
	parts, err := v.tuple(2)
	if err != nil {
		return e, err
	}
	if e.ID, err = parts[0].Text(); err == nil && !parts[1].IsNil() {
		e.Fields, err = parts[1].TextMap()
	}
	return e, err
}

// Streams returns the messages of several streams: a map, or an array of pairs, which is its form in RESP2.
func (v Value) Streams() (map[string][]StreamEntry, error) {
	if v.kind == KindMap {
		return mapOf(v, Value.StreamEntries)
	}
	streams := map[string][]StreamEntry{}
	err := v.each(func(_ int, stream Value) error {
		parts, err := stream.tuple(2)
		if err != nil {
			return err
		}
		name, err := parts[0].Text()
		if err == nil {
			streams[name], err = parts[1].StreamEntries()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return streams, nil
}

// page is a reply of SCAN and its like.
func (v Value) page() (elements []string, next string, err error) {
	parts, err := v.tuple(2)
	if err != nil {
		return nil, "", err
	}
	if next, err = parts[0].Text(); err == nil {
		elements, err = parts[1].Texts()
	}
	return elements, next, err
}

func (v Value) keyAndText() (key, text string, err error) {
	parts, err := v.tuple(2)
	if err != nil {
		return "", "", err
	}
	if key, err = parts[0].Text(); err == nil {
		text, err = parts[1].Text()
	}
	return key, text, err
}

func (v Value) keyAndTexts() (key string, texts []string, err error) {
	parts, err := v.tuple(2)
	if err != nil {
		return "", nil, err
	}
	if key, err = parts[0].Text(); err == nil {
		texts, err = parts[1].Texts()
	}
	return key, texts, err
}

func (v Value) keyAndScored() (key, member string, score float64, err error) {
	parts, err := v.tuple(3)
	if err != nil {
		return "", "", 0, err
	}
	if key, err = parts[0].Text(); err == nil {
		var s Scored
		s, err = scored(parts[1], parts[2])
		member, score = s.Member, s.Score
	}
	return key, member, score, err
}

func (v Value) twoInts() (first, second int64, err error) {
	parts, err := v.tuple(2)
	if err != nil {
		return 0, 0, err
	}
	if first, err = parts[0].Int(); err == nil {
		second, err = parts[1].Int()
	}
	return first, second, err
}
