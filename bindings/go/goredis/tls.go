package goredis

import (
	"crypto/tls"
	"reflect"
	"strings"
)

// tlsOptions returns the options for a configuration of TLS. The library takes certificates and keys from files, and
// does the handshake itself, so it can only follow what does not hold any of these.
func tlsOptions(config *tls.Config) (map[string]string, error) {
	options := map[string]string{}
	var refused []string
	all := reflect.ValueOf(config).Elem()
	for i := 0; i < all.NumField(); i++ {
		field := all.Type().Field(i)
		if !field.IsExported() || all.Field(i).IsZero() {
			continue
		}
		switch {
		case field.Name == "ServerName":
			options["tls_server_name"] = config.ServerName
		case field.Name == "InsecureSkipVerify":
			options["tls_insecure_skip_verify"] = "yes"
		case field.Name == "MinVersion" && config.MinVersion <= tls.VersionTLS12:
			// The library accepts nothing older.
		default:
			refused = append(refused, "TLSConfig."+field.Name)
		}
	}
	if len(refused) > 0 {
		return nil, unsupported(strings.Join(refused, ", "),
			"use New with a URL that begins with rediss:// and the options tls_ca_file, tls_cert_file and tls_key_file")
	}
	return options, nil
}
