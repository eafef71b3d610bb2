package rediscluster

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
)

// As decodes a reply as a T. It takes the two results of [Client.Do], or the value of a pipeline and nil:
//
//	ages, err := rediscluster.As[map[string]int](rc.Do(ctx, "HGETALL", "ages"))
//	user, err := rediscluster.As[User](rc.Do(ctx, "HGETALL", "user:1"))
//
// T is made of strings, []byte, bools, numbers, types with UnmarshalText such as time.Time, slices, maps with string
// keys, structs and pointers. The fields of a struct have the tag `redis:"name"`, or their own names; "-" leaves one
// out, and a field that is missing in the reply stays zero. A nil is nil for a pointer, slice or map, and otherwise
// the error [Nil].
func As[T any](v Value, err error) (T, error) {
	var decoded T
	if err == nil {
		err = v.into(reflect.ValueOf(&decoded).Elem())
	}
	return decoded, err
}

var valueType = reflect.TypeOf(Value{})

// into stores the value in a variable.
func (v Value) into(to reflect.Value) error {
	if e := v.err(); e != nil && to.Type() != valueType {
		return e
	}
	if done, err := v.intoSpecial(to); done {
		return err
	}
	switch to.Kind() {
	case reflect.String:
		text, err := v.Text()
		to.SetString(text)
		return err
	case reflect.Bool:
		return v.intoBool(to)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := v.Int()
		if err == nil && to.OverflowInt(n) {
			return fmt.Errorf("rediscluster: %d does not fit into %s", n, to.Type())
		}
		to.SetInt(n)
		return err
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := v.Int()
		if err == nil && (n < 0 || to.OverflowUint(uint64(n))) {
			return fmt.Errorf("rediscluster: %d does not fit into %s", n, to.Type())
		}
		to.SetUint(uint64(n))
		return err
	case reflect.Float32, reflect.Float64:
		n, err := v.Float()
		to.SetFloat(n)
		return err
	case reflect.Slice:
		return v.intoSlice(to)
	case reflect.Map:
		return v.intoMap(to)
	case reflect.Struct:
		return v.intoStruct(to)
	default:
		return fmt.Errorf("rediscluster: a reply cannot be decoded as %s", to.Type())
	}
}

// intoSpecial stores the value in a variable whose type matters more than its kind.
func (v Value) intoSpecial(to reflect.Value) (done bool, err error) {
	switch {
	case to.Type() == valueType:
		to.Set(reflect.ValueOf(v))
		return true, nil
	case to.Kind() == reflect.Pointer && v.IsNil():
		to.Set(reflect.Zero(to.Type()))
		return true, nil
	case to.Kind() == reflect.Pointer:
		to.Set(reflect.New(to.Type().Elem()))
		return true, v.into(to.Elem())
	}
	if unmarshaler, ok := to.Addr().Interface().(encoding.TextUnmarshaler); ok {
		text, err := v.Text()
		if err == nil {
			err = unmarshaler.UnmarshalText([]byte(text))
		}
		return true, err
	}
	return false, nil
}

// intoBool takes the texts of bools too, which are how this package sends them, and how Go writes them.
func (v Value) intoBool(to reflect.Value) error {
	set, err := v.Bool()
	if err != nil && v.kind.hasText() {
		switch v.text() {
		case "1", "true":
			set, err = true, nil
		case "0", "false", "":
			set, err = false, nil
		}
	}
	to.SetBool(set)
	return err
}

func (v Value) intoSlice(to reflect.Value) error {
	switch {
	case v.IsNil():
		to.Set(reflect.Zero(to.Type()))
		return nil
	case to.Type().Elem().Kind() == reflect.Uint8:
		bytes, err := v.Bytes()
		to.SetBytes(bytes)
		return err
	}
	elements, err := v.Slice()
	if err != nil {
		return err
	}
	all := reflect.MakeSlice(to.Type(), len(elements), len(elements))
	for i, element := range elements {
		if err := element.into(all.Index(i)); err != nil {
			return fmt.Errorf("element %d: %w", i, err)
		}
	}
	to.Set(all)
	return nil
}

func (v Value) intoMap(to reflect.Value) error {
	if v.IsNil() {
		to.Set(reflect.Zero(to.Type()))
		return nil
	}
	if to.Type().Key().Kind() != reflect.String {
		return fmt.Errorf("rediscluster: a reply cannot be decoded as %s, whose keys are not strings", to.Type())
	}
	values, err := v.Map()
	if err != nil {
		return err
	}
	all := reflect.MakeMapWithSize(to.Type(), len(values))
	for name, value := range values {
		element := reflect.New(to.Type().Elem()).Elem()
		if err := value.into(element); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all.SetMapIndex(reflect.ValueOf(name).Convert(to.Type().Key()), element)
	}
	to.Set(all)
	return nil
}

func (v Value) intoStruct(to reflect.Value) error {
	values, err := v.Map()
	if err != nil {
		return err
	}
	if len(values) == 0 {
		return Nil // the reply to HGETALL without the key
	}
	for i := 0; i < to.NumField(); i++ {
		name := fieldName(to.Type().Field(i))
		value, there := values[name]
		if name == "" || !there {
			continue
		}
		if err := value.into(to.Field(i)); err != nil {
			return fmt.Errorf("field %s: %w", name, err)
		}
	}
	return nil
}

// fieldName returns the name of a struct's field in a hash, or "" if it is left out.
func fieldName(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("redis"), ",")
	switch {
	case !field.IsExported() || name == "-":
		return ""
	case name == "":
		return field.Name
	default:
		return name
	}
}

// Fields returns the fields of a struct as arguments of HSET, for [As] to decode:
//
//	rc.HSet(ctx, "user:1", rediscluster.Fields(user)...)
//
// It leaves out nil pointers. A type with MarshalText is encoded by it. It panics if v is not a struct or a pointer to
// one.
func Fields(v any) []any {
	from := reflect.Indirect(reflect.ValueOf(v))
	if from.Kind() != reflect.Struct {
		panic(fmt.Sprintf("rediscluster: Fields takes a struct, not %T", v))
	}
	var args []any
	for i := 0; i < from.NumField(); i++ {
		name := fieldName(from.Type().Field(i))
		if name == "" {
			continue
		}
		field := from.Field(i)
		if field.Kind() == reflect.Pointer {
			if field.IsNil() {
				continue
			}
			field = field.Elem()
		}
		args = append(args, name, argument(field))
	}
	return args
}

// argument returns a field as an argument of a command. What cannot be encoded is refused by the command.
func argument(field reflect.Value) any {
	if marshaler, ok := field.Interface().(encoding.TextMarshaler); ok {
		if text, err := marshaler.MarshalText(); err == nil {
			return text
		}
	}
	switch field.Kind() {
	case reflect.String:
		return field.String()
	case reflect.Bool:
		return field.Bool()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return field.Int()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return field.Uint()
	case reflect.Float32, reflect.Float64:
		return field.Float()
	default:
		return field.Interface()
	}
}
